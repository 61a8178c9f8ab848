//! A tokenizer for SQLite's SQL: enough to find words in a definition without being fooled by
//! quotes, comments and strings. It does not parse. And when two names are one to SQLite.

/// Whether two names are the same to SQLite, which does not tell ASCII letters' cases apart. Not
/// inlined: it is asked in a hundred places, and takes 150 bytes.
#[inline(never)]
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// A name in the form that is the same for all names that are the same to SQLite.
#[inline(never)]
pub(crate) fn folded_name(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A piece of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword or plain identifier.
    Word(&'a str),
    /// An identifier in quotes, brackets or backticks, without them (inner quotes still
    /// doubled).
    Quoted(&'a str),
    /// A string, number, or anything else of no interest.
    Other,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
}

impl Token<'_> {
    /// Whether this is the keyword `word`.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(w) if same_name(w, word))
    }

    /// Whether this names `name`.
    pub(crate) fn is_name(&self, name: &str) -> bool {
        match self {
            Self::Word(w) => same_name(w, name),
            Self::Quoted(q) => same_name(&q.replace("\"\"", "\""), name),
            _ => false,
        }
    }

    /// Whether this names what `other` names.
    pub(crate) fn is_same_name(&self, other: &Self) -> bool {
        match other {
            Token::Word(w) => self.is_name(w),
            Token::Quoted(q) => self.is_name(&q.replace("\"\"", "\"")),
            _ => false,
        }
    }
}

/// Splits SQL text.
pub(crate) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, used) = next(rest, first);
        tokens.extend(token);
        rest = rest.get(used..).unwrap_or_default();
    }
    tokens
}

fn next(rest: &str, first: char) -> (Option<Token<'_>>, usize) {
    let until = |end: &str, from: usize| {
        rest.get(from..)
            .and_then(|r| r.find(end))
            .map_or(rest.len(), |n| from + n + end.len())
    };
    match first {
        _ if rest.starts_with("--") => (None, until("\n", 2)),
        _ if rest.starts_with("/*") => (None, until("*/", 2)),
        '(' => (Some(Token::Open), 1),
        ')' => (Some(Token::Close), 1),
        ',' => (Some(Token::Comma), 1),
        '\'' => (Some(Token::Other), quoted(rest, '\'')),
        '"' | '`' => {
            let end = quoted(rest, first);
            (Some(Token::Quoted(inside(rest, end))), end)
        }
        '[' => {
            let end = until("]", 1);
            (Some(Token::Quoted(inside(rest, end))), end)
        }
        _ if is_word(first) => {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (Some(Token::Word(rest.get(..end).unwrap_or_default())), end)
        }
        _ if first.is_whitespace() => (None, first.len_utf8()),
        _ => (Some(Token::Other), first.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn inside(rest: &str, end: usize) -> &str {
    rest.get(1..end.saturating_sub(1)).unwrap_or_default()
}

/// Length of a quoted piece whose quotes are doubled inside.
fn quoted(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return at + 1;
            }
        }
    }
    rest.len()
}

/// The tokens of a parenthesised expression at the beginning of `tokens`, parentheses included.
pub(crate) fn parenthesised<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0usize;
    for (n, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return tokens.get(..=n).unwrap_or_default();
        }
    }
    tokens
}

/// The parenthesised expressions after each word `word`.
pub(crate) fn bodies_after<'t, 'a>(tokens: &'t [Token<'a>], word: &str) -> Vec<&'t [Token<'a>]> {
    tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.is_word(word))
        .map(|(n, _)| parenthesised(tokens.get(n + 1..).unwrap_or_default()))
        .collect()
}

/// The statements of a text, without the semicolons between them. None of them may hold one, as
/// the body of a trigger does.
pub(crate) fn statements(sql: &str) -> Vec<&str> {
    let (mut statements, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(first) = sql.get(at..).and_then(|rest| rest.chars().next()) {
        let (_, used) = next(sql.get(at..).unwrap_or_default(), first);
        if first == ';' {
            statements.extend(sql.get(start..at));
            start = at + used;
        }
        at += used;
    }
    statements.extend(sql.get(start..));
    statements.retain(|statement| !tokens(statement).is_empty());
    statements
}

/// The text that defines a column of a CREATE TABLE, as it was written.
pub(crate) fn column_text<'a>(sql: &'a str, column: &str) -> Option<&'a str> {
    let (mut depth, mut start, mut is_it) = (0usize, None, false);
    let mut at = 0;
    while let Some(first) = sql.get(at..)?.chars().next() {
        let (token, used) = next(sql.get(at..)?, first);
        match token {
            Some(Token::Close | Token::Comma) if depth == 1 && is_it => {
                return Some(sql.get(start?..at)?.trim());
            }
            Some(Token::Close) if depth == 1 => return None,
            Some(Token::Comma) if depth == 1 => start = None,
            Some(Token::Open) => depth += 1,
            Some(Token::Close) => depth = depth.saturating_sub(1),
            Some(token) if depth == 1 && start.is_none() => {
                start = Some(at);
                is_it = token.is_name(column);
            }
            _ => {}
        }
        at += used;
    }
    None
}

/// The generated columns of a CREATE TABLE: the name, and the expression in its parentheses.
pub(crate) fn generated_columns<'t, 'a>(
    tokens: &'t [Token<'a>],
) -> Vec<(Token<'a>, &'t [Token<'a>])> {
    let mut found = Vec::new();
    let (mut depth, mut name, mut is_first) = (0usize, None, false);
    for (n, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => {
                depth += 1;
                is_first = depth == 1;
            }
            Token::Close => depth = depth.saturating_sub(1),
            Token::Comma if depth == 1 => is_first = true,
            _ if depth == 1 && is_first => {
                name = Some(*token);
                is_first = false;
            }
            token if depth == 1 && token.is_word("AS") => {
                let body = parenthesised(tokens.get(n + 1..).unwrap_or_default());
                found.extend(name.map(|name| (name, body)));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments_hide_words() {
        let sql =
            "CREATE TABLE \"CHECK\"(a TEXT DEFAULT '-- CHECK (x)', /* CHECK */ [b c] INT) -- CHECK";
        let tokens = tokens(sql);
        assert!(!tokens.iter().any(|t| t.is_word("CHECK")));
        assert!(tokens.iter().any(|t| t.is_name("check")));
        assert!(tokens.iter().any(|t| t.is_name("B C")));
    }

    #[test]
    fn doubled_quotes() {
        assert!(tokens("\"a\"\"b\"").iter().any(|t| t.is_name("a\"b")));
    }

    #[test]
    fn finds_generated_columns() {
        let sql = "CREATE TABLE t(a INT, \"b c\" INT GENERATED ALWAYS AS (a + 1) STORED, \
                   d AS (CAST(a AS TEXT)), CHECK (CAST(a AS INT) > 0))";
        let tokens = tokens(sql);
        let names: Vec<bool> = generated_columns(&tokens)
            .iter()
            .map(|(name, body)| name.is_name("b c") && body.len() == 5)
            .collect();
        assert_eq!(names, [true, false]);
    }

    #[test]
    fn splits_statements() {
        let sql = "ALTER TABLE t ADD a DEFAULT ';'; -- none; here\n DROP INDEX \"i;\" ; ;";
        assert_eq!(
            statements(sql),
            [
                "ALTER TABLE t ADD a DEFAULT ';'",
                " -- none; here\n DROP INDEX \"i;\" "
            ]
        );
    }

    #[test]
    fn finds_the_text_of_a_column() {
        let sql = "CREATE TABLE t(id TEXT, -- (a, b)\n \"a b\" TEXT DEFAULT 'x,)' COLLATE NOCASE, \
                   c AS (id || ')') , CHECK (d > (0)), d INT CHECK (d IN (1, 2))) STRICT";
        assert_eq!(column_text(sql, "ID"), Some("id TEXT"));
        assert_eq!(
            column_text(sql, "a b"),
            Some("\"a b\" TEXT DEFAULT 'x,)' COLLATE NOCASE")
        );
        assert_eq!(column_text(sql, "c"), Some("c AS (id || ')')"));
        assert_eq!(column_text(sql, "d"), Some("d INT CHECK (d IN (1, 2))"));
        assert_eq!(column_text(sql, "e"), None);
    }

    #[test]
    fn finds_the_closing_parenthesis() {
        let tokens = tokens("(a > (b + 1)) , c");
        assert_eq!(parenthesised(&tokens).len(), 9);
    }
}
