//! Session tokens: what a session has seen, as a text that an application hands from one
//! node's connection to another's.
//!
//! `nuda1/PARTITION/site:seq,site:seq/`: a version, whose data, the version vector. The last
//! character is there so that a token that was cut short is refused and does not promise less.

use std::fmt;

use crate::site::PartitionId;
use crate::version_vector::VersionVector;

const VERSION: &str = "nuda1";

/// What a session has seen of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Of which partition.
    pub partition: PartitionId,
    /// Everything read and written.
    pub seen: VersionVector,
}

impl Token {
    /// Reads what [`fmt::Display`] writes; `None` if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut pieces = text.split('/');
        let mut piece = || pieces.next();
        if piece()? != VERSION {
            return None;
        }
        let partition = PartitionId::parse(piece()?)?;
        let seen = VersionVector::parse(piece()?)?;
        let ended = piece() == Some("") && piece().is_none();
        ended.then_some(Self { partition, seen })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}/{}/{}/", self.partition, self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Site;

    fn token() -> Token {
        let mut seen = VersionVector::new();
        seen.set(Site::LOG_STRONG, 7);
        seen.set(Site::from_u64(1 << 40).unwrap(), 12);
        Token {
            partition: PartitionId([9; 16]),
            seen,
        }
    }

    #[test]
    fn text_round_trips() {
        let empty = Token {
            seen: VersionVector::new(),
            ..token()
        };
        for token in [token(), empty] {
            assert_eq!(Token::parse(&token.to_string()), Some(token));
        }
    }

    #[test]
    fn what_was_cut_short_or_changed_is_refused() {
        let text = token().to_string();
        for end in 0..text.len() {
            assert_eq!(Token::parse(&text[..end]), None, "{end}");
        }
        assert_eq!(Token::parse(&format!("{text}/")), None);
        assert_eq!(Token::parse(&text.replace("nuda1", "nuda2")), None);
        assert_eq!(Token::parse(&text.replace(":12", ":-12")), None);
    }
}
