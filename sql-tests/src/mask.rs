//! What differs from run to run gets a name: sites, stamps, times, keys made at random.
//!
//! A site is named by its place in the order of appearance, so that a transcript still tells
//! which of two replicas won. Version vectors are put in the order of those names.

use std::path::Path;

/// Remembers what was seen in one transcript.
#[derive(Debug)]
pub struct Mask {
    folder: String,
    sites: Vec<String>,
}

impl Mask {
    /// Hides `folder`, where the run happens.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.display().to_string(),
            sites: Vec::new(),
        }
    }

    /// The line with every volatile thing replaced.
    pub fn apply(&mut self, line: &str) -> String {
        let line = line.replace(&self.folder, "<folder>");
        let mut out = String::with_capacity(line.len());
        let mut rest = line.as_str();
        while !rest.is_empty() {
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .unwrap_or(rest.len());
            let (token, after) = rest.split_at(length);
            if is_site(token) && after.starts_with(':') {
                rest = self.vector(&mut out, rest);
                continue;
            }
            out.push_str(&self.token(token));
            let mut chars = after.chars();
            out.extend(chars.next());
            rest = chars.as_str();
        }
        out
    }

    fn token(&mut self, token: &str) -> String {
        let hex = token.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = token.bytes().all(|b| b.is_ascii_digit());
        if is_site(token) {
            self.site(token)
        } else if is_uuid(token) {
            "<uuid>".to_owned()
        } else if hex && (token.len() == 32 || token.len() == 64) {
            "<hash>".to_owned()
        } else if digits && token.len() == 13 && ("16".."20").contains(&&token[..2]) {
            "<ms>".to_owned()
        } else if digits && token.len() == 18 && token.starts_with('1') {
            "<stamp>".to_owned()
        } else {
            token.to_owned()
        }
    }

    fn site(&mut self, token: &str) -> String {
        let place = self
            .sites
            .iter()
            .position(|s| s == token)
            .unwrap_or_else(|| {
                self.sites.push(token.to_owned());
                self.sites.len() - 1
            });
        format!("<site {}>", place + 1)
    }

    /// Writes the vector that `text` begins with; answers what follows it.
    fn vector<'a>(&mut self, out: &mut String, text: &'a str) -> &'a str {
        let length = text
            .find(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == ','))
            .unwrap_or(text.len());
        let (vector, _) = text.split_at(length);
        let vector = vector.trim_end_matches([',', ':']);
        let rest = &text[vector.len()..];
        let mut entries: Vec<String> = vector
            .split(',')
            .map(|entry| match entry.split_once(':') {
                Some((site, seq)) if is_site(site) => format!("{}:{seq}", self.site(site)),
                _ => entry.to_owned(),
            })
            .collect();
        entries.sort();
        out.push_str(&entries.join(","));
        rest
    }
}

fn is_site(token: &str) -> bool {
    token.len() == 16
        && token
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_uuid(token: &str) -> bool {
    let lengths: Vec<usize> = token.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && token.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_keep_their_identity_and_nothing_else_changes() {
        let mut mask = Mask::new(Path::new("/tmp/x"));
        assert_eq!(
            mask.apply("/tmp/x/a.db ffffffffffffffff 00000000000000aa ffffffffffffffff é 9223372036854775807"),
            "<folder>/a.db <site 1> <site 2> <site 1> é 9223372036854775807"
        );
        assert_eq!(
            mask.apply("00000000000000aa:7,ffffffffffffffff:1|x"),
            "<site 1>:1,<site 2>:7|x"
        );
        assert_eq!(
            mask.apply("01980000-1234-7abc-8def-0123456789ab 1795000000000 117637120000000001"),
            "<uuid> <ms> <stamp>"
        );
    }
}
