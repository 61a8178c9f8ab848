//! What the extension and the daemon say to each other over the daemon's socket.
//!
//! A connection carries one [`Request`] at a time and its [`Reply`]; it stays open for the
//! next. Each is a frame: 4 bytes length (big-endian, bounded before anything is read), the
//! protocol version, a kind, the content. The extension blocks in it, so every request says how
//! long it will wait, and the daemon answers in that time whatever happens.
//!
//! The invariant of the answers: [`Reply::NotCommitted`] is given only if the proposal has not
//! left for any log, or the log itself has decided against it. Everything else that is no
//! outcome is [`Reply::Unknown`].

use crate::certify::{Answer, Proposal, TxnId};
use crate::changeset::{put_vector, read_vector};
use crate::codec::{Reader, put_sized, put_varint};
use crate::error::DecodeError;
use crate::limits;
use crate::site::{PartitionId, Seq, Site};
use crate::value::{OwnedValue, Value};
use crate::version_vector::VersionVector;

/// The version of this protocol. Extension and daemon are installed separately.
pub const CONTROL: u8 = 5;

/// The largest frame: a proposal, and room for what surrounds it.
pub const FRAME_BYTES: usize = limits::PROPOSAL_BYTES + (1 << 20);

/// The socket's name in the daemon's private directory.
pub const SOCKET: &str = "strong.sock";

/// What the extension asks about a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Which partition.
    pub partition: PartitionId,
    /// How long the caller waits for the answer, in milliseconds.
    pub within_ms: u64,
    /// The file has this of what the log accepted, as the caller has seen itself.
    pub here: VersionVector,
    /// What.
    pub ask: Ask,
}

/// The questions.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Can strong levels be honoured on this file? Answered by [`Reply::Ready`], at once unless a leader is
    /// being elected.
    Levels,
    /// What is known of the log here? Answered by [`Reply::Ready`] at once.
    Standing,
    /// Bring the file to these transactions of the log, or beyond. Answered by [`Reply::Ready`].
    Reach(VersionVector),
    /// Bring the file to everything that was acknowledged anywhere before this question.
    /// Answered by [`Reply::Ready`].
    ReachAll,
    /// Bring the file to what a majority of the voters had when asked, at most so many
    /// milliseconds before this question. Answered by [`Reply::Recent`].
    ReachRecent(u64),
    /// Commit this.
    Propose {
        /// What.
        proposal: Proposal,
        /// The wall time by which it is stamped, milliseconds since 1970. If that is ahead of what the nodes
        /// agree on, it is refused: what the log holds has its stamp for good.
        clock_ms: u64,
    },
    /// What became of it? An undecided one is aborted.
    Settle(TxnId),
    /// Run this at the leader.
    Execute(Execution),
}

/// SQL that is run for a client at the leader, as a transaction of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Its name.
    pub id: TxnId,
    /// A statement, or several.
    pub sql: String,
    /// Values of its parameters, in order.
    pub arguments: Vec<OwnedValue>,
}

impl Execution {
    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        put_sized(out, self.sql.as_bytes());
        put_varint(out, self.arguments.len() as u64);
        for value in &self.arguments {
            value.as_ref().encode(out);
        }
    }

    /// Reads an encoded one.
    ///
    /// # Errors
    /// Malformed, or beyond the bounds.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = TxnId::decode(r)?;
        let sql = r.text("SQL", limits::STATEMENT_BYTES)?.to_owned();
        let count = r.length("arguments", limits::ARGUMENTS)?;
        let arguments = (0..count)
            .map(|_| Value::decode(r).map(OwnedValue::from))
            .collect::<Result<_, _>>()?;
        Ok(Self { id, sql, arguments })
    }
}

/// What a group knows that the next proposal needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Decisions of the group: what a new transaction id is born with.
    pub decided: u64,
    /// The partition's position in the log, as this node knows it.
    pub position: Seq,
    /// The quorum transactions that are in the log, by lane.
    pub quorum: VersionVector,
    /// What the log covers: eventual changes beyond it travel with the proposal.
    pub covered: VersionVector,
    /// How many nodes vote.
    pub voters: u64,
    /// How far the clock of the machine that asks is ahead of the other nodes', in milliseconds, if that is too far.
    /// Whoever is asked directly says so; what another node said of itself is nobody else's.
    pub clock_ahead_ms: u64,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The file is where it was asked to be.
    Ready(Standing),
    /// What the log says about the transaction.
    Decided(Answer, Standing),
    /// The proposal must carry more of what it saw; nothing has been proposed.
    Lacks(Standing),
    /// Nothing was committed and nothing will be: why, for people.
    NotCommitted(String),
    /// Nobody can say: why, for people.
    Unknown(String),
    /// What was to be executed is committed, and in the file.
    Executed {
        /// Its place in the order.
        position: Seq,
        /// Whether the file of the one who asked has it.
        is_here: bool,
        /// Its answer, as JSON; `None` if it is not kept any more.
        result: Option<String>,
        /// What the group knows now.
        standing: Standing,
    },
    /// The file is where it was asked to be.
    Recent {
        /// How long ago the voters were asked, in microseconds.
        age_us: u64,
        /// What the group knows now.
        standing: Standing,
    },
    /// What was to be executed failed, and nothing of it is left.
    Failed {
        /// SQLite's (extended) result code.
        code: i32,
        /// SQLite's message.
        why: String,
    },
}

impl Standing {
    /// Everything that the log has accepted.
    #[must_use]
    pub fn accepted(&self) -> VersionVector {
        let mut accepted = self.quorum.clone();
        accepted.set(Site::LOG_STRONG, self.position);
        accepted
    }
}

impl Request {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = begin();
        out.extend_from_slice(&self.partition.0);
        put_varint(&mut out, self.within_ms);
        put_vector(&mut out, &self.here);
        match &self.ask {
            Ask::Levels => out.push(0),
            Ask::Standing => out.push(7),
            Ask::Reach(wanted) => {
                out.push(1);
                put_vector(&mut out, wanted);
            }
            Ask::ReachAll => out.push(2),
            Ask::Propose { proposal, clock_ms } => {
                out.push(3);
                put_varint(&mut out, *clock_ms);
                proposal.encode(&mut out);
            }
            Ask::Settle(id) => {
                out.push(4);
                id.encode(&mut out);
            }
            Ask::Execute(execution) => {
                out.push(5);
                execution.encode(&mut out);
            }
            Ask::ReachRecent(max_age_ms) => {
                out.push(6);
                put_varint(&mut out, *max_age_ms);
            }
        }
        finish(out)
    }

    /// Reads a frame's content, without its length.
    ///
    /// # Errors
    /// Of another version, malformed, or beyond the bounds.
    pub fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut r = opened(content)?;
        let partition = PartitionId(r.array("a partition id")?);
        let within_ms = r.varint("a deadline")?;
        let here = read_vector(&mut r)?;
        let ask = match r.byte("a question")? {
            0 => Ask::Levels,
            7 => Ask::Standing,
            1 => Ask::Reach(read_vector(&mut r)?),
            2 => Ask::ReachAll,
            3 => Ask::Propose {
                clock_ms: r.varint("a clock")?,
                proposal: Proposal::decode(&mut r)?,
            },
            4 => Ask::Settle(TxnId::decode(&mut r)?),
            5 => Ask::Execute(Execution::decode(&mut r)?),
            6 => Ask::ReachRecent(r.varint("an age")?),
            _ => return Err(DecodeError::Unknown("a question of this kind")),
        };
        r.end("a question")?;
        Ok(Self {
            partition,
            within_ms,
            here,
            ask,
        })
    }
}

impl Reply {
    /// What it says of the log.
    pub fn standing_mut(&mut self) -> Option<&mut Standing> {
        match self {
            Self::Ready(standing)
            | Self::Decided(_, standing)
            | Self::Lacks(standing)
            | Self::Executed { standing, .. }
            | Self::Recent { standing, .. } => Some(standing),
            Self::NotCommitted(_) | Self::Unknown(_) | Self::Failed { .. } => None,
        }
    }

    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = begin();
        match self {
            Self::Ready(standing) => {
                out.push(0);
                put_standing(&mut out, standing);
            }
            Self::Decided(answer, standing) => {
                out.push(1);
                answer.encode(&mut out);
                put_standing(&mut out, standing);
            }
            Self::Lacks(standing) => {
                out.push(2);
                put_standing(&mut out, standing);
            }
            Self::NotCommitted(why) => {
                out.push(3);
                put_sized(&mut out, bounded(why).as_bytes());
            }
            Self::Unknown(why) => {
                out.push(4);
                put_sized(&mut out, bounded(why).as_bytes());
            }
            Self::Executed {
                position,
                is_here,
                result,
                standing,
            } => {
                out.push(5);
                put_varint(&mut out, *position);
                out.push(u8::from(*is_here) | u8::from(result.is_some()) << 1);
                put_sized(&mut out, result.as_deref().unwrap_or_default().as_bytes());
                put_standing(&mut out, standing);
            }
            Self::Recent { age_us, standing } => {
                out.push(7);
                put_varint(&mut out, *age_us);
                put_standing(&mut out, standing);
            }
            Self::Failed { code, why } => {
                out.push(6);
                put_varint(&mut out, u64::from(code.unsigned_abs()));
                put_sized(&mut out, bounded(why).as_bytes());
            }
        }
        finish(out)
    }

    /// Reads a frame's content, without its length.
    ///
    /// # Errors
    /// Of another version, malformed, or beyond the bounds.
    pub fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        let mut r = opened(content)?;
        let reply = match r.byte("an answer")? {
            0 => Self::Ready(read_standing(&mut r)?),
            1 => Self::Decided(Answer::decode(&mut r)?, read_standing(&mut r)?),
            2 => Self::Lacks(read_standing(&mut r)?),
            3 => Self::NotCommitted(r.text("a reason", REASON_BYTES)?.to_owned()),
            4 => Self::Unknown(r.text("a reason", REASON_BYTES)?.to_owned()),
            5 => read_executed(&mut r)?,
            6 => Self::Failed {
                code: i32::try_from(r.bounded("a code", i32::MAX.unsigned_abs().into())?)
                    .unwrap_or(1),
                why: r.text("a reason", REASON_BYTES)?.to_owned(),
            },
            7 => Self::Recent {
                age_us: r.varint("an age")?,
                standing: read_standing(&mut r)?,
            },
            _ => return Err(DecodeError::Unknown("an answer of this kind")),
        };
        r.end("an answer")?;
        Ok(reply)
    }
}

fn read_executed(r: &mut Reader<'_>) -> Result<Reply, DecodeError> {
    let position = r.bounded("a position", limits::SEQ - 1)?;
    let flags = r.bounded("flags", 3)?;
    let result = r.text("a result", limits::RESULT_BYTES)?.to_owned();
    Ok(Reply::Executed {
        position,
        is_here: flags & 1 != 0,
        result: (flags & 2 != 0).then_some(result),
        standing: read_standing(r)?,
    })
}

/// One line for people.
const REASON_BYTES: usize = 4_096;

/// The length of a frame's content from its first 4 bytes.
///
/// # Errors
/// Beyond [`FRAME_BYTES`].
pub fn content_length(head: [u8; 4]) -> Result<usize, DecodeError> {
    let length = u32::from_be_bytes(head);
    match usize::try_from(length) {
        Ok(length) if length <= FRAME_BYTES => Ok(length),
        _ => Err(DecodeError::TooLarge {
            what: "a frame",
            claimed: u64::from(length),
            limit: FRAME_BYTES as u64,
        }),
    }
}

fn begin() -> Vec<u8> {
    vec![0, 0, 0, 0, CONTROL]
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    for (to, from) in out.iter_mut().zip(length.to_be_bytes()) {
        *to = from;
    }
    out
}

fn opened(content: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut r = Reader::new(content);
    match r.byte("the protocol version")? {
        CONTROL => Ok(r),
        other => Err(DecodeError::Version(other)),
    }
}

fn bounded(text: &str) -> &str {
    let mut end = text.len().min(REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn put_standing(out: &mut Vec<u8>, standing: &Standing) {
    put_varint(out, standing.decided);
    put_varint(out, standing.position);
    put_vector(out, &standing.quorum);
    put_varint(out, standing.voters);
    put_varint(out, standing.clock_ahead_ms);
    put_vector(out, &standing.covered);
}

fn read_standing(r: &mut Reader<'_>) -> Result<Standing, DecodeError> {
    Ok(Standing {
        decided: r.varint("a count of decisions")?,
        position: r.bounded("a position", limits::SEQ - 1)?,
        quorum: read_vector(r)?,
        voters: r.varint("a count of voters")?,
        clock_ahead_ms: r.varint("a clock")?,
        covered: read_vector(r)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certify::{Outcome, Statement};
    use crate::protocol::NodeId;

    fn id() -> TxnId {
        TxnId {
            node: NodeId::of_name("a"),
            boot: 7,
            counter: 300,
            born: 1 << 40,
        }
    }

    #[test]
    fn requests_round_trip() {
        let proposal = Proposal {
            id: id(),
            base: [(Site::from_u64(99).unwrap(), 4)].into_iter().collect(),
            seen: Some([(Site::from_u64(98).unwrap(), 5)].into_iter().collect()),
            dependencies: vec![vec![1, 2], vec![]],
            changeset: vec![vec![3; 300]],
            statements: vec![Statement {
                id: id(),
                result: vec![b'x'; 200],
            }],
        };
        let execution = Execution {
            id: id(),
            sql: "INSERT INTO t VALUES (?, ?)".to_owned(),
            arguments: vec![OwnedValue::Null, OwnedValue::Real(1.5)],
        };
        let wanted: VersionVector = [(Site::LOG_STRONG, 9)].into_iter().collect();
        for ask in [
            Ask::Levels,
            Ask::Standing,
            Ask::Reach(wanted.clone()),
            Ask::ReachAll,
            Ask::ReachRecent(500),
            Ask::Propose {
                proposal,
                clock_ms: 1 << 41,
            },
            Ask::Settle(id()),
            Ask::Execute(execution),
        ] {
            let request = Request {
                partition: PartitionId([5; 16]),
                within_ms: 2_000,
                here: wanted.clone(),
                ask,
            };
            let frame = request.encode();
            let (head, content) = frame.split_first_chunk().unwrap();
            assert_eq!(content_length(*head).unwrap(), content.len());
            assert_eq!(Request::decode(content).unwrap(), request);
            for cut in 0..content.len() {
                assert!(Request::decode(&content[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn replies_round_trip_and_are_bounded() {
        let standing = Standing {
            decided: 5,
            position: 3,
            quorum: [(Site::from_u64(77).unwrap(), 2)].into_iter().collect(),
            covered: [(Site::from_u64(99).unwrap(), 4)].into_iter().collect(),
            voters: 3,
            clock_ahead_ms: 3_600_000,
        };
        for reply in [
            Reply::Ready(standing.clone()),
            Reply::Decided(Answer::Decided(Outcome::Accepted(3)), standing.clone()),
            Reply::Decided(Answer::Expired, standing.clone()),
            Reply::Lacks(standing.clone()),
            Reply::Recent {
                age_us: 300,
                standing: standing.clone(),
            },
            Reply::Executed {
                position: 300,
                is_here: true,
                result: Some("{}".to_owned()),
                standing: standing.clone(),
            },
            Reply::Executed {
                position: 1,
                is_here: false,
                result: None,
                standing,
            },
            Reply::Failed {
                code: 2067,
                why: "UNIQUE constraint failed: t.x".to_owned(),
            },
            Reply::NotCommitted("why".to_owned()),
            Reply::Unknown("é".repeat(3_000)),
        ] {
            let frame = reply.encode();
            let decoded = Reply::decode(&frame[4..]).unwrap();
            match (&reply, &decoded) {
                (Reply::Unknown(long), Reply::Unknown(short)) => assert!(long.starts_with(short)),
                _ => assert_eq!(decoded, reply),
            }
        }
        assert!(content_length([255; 4]).is_err());
    }

    #[test]
    fn ids_have_one_text() {
        assert_eq!(TxnId::parse(&id().to_string()), Some(id()));
        for bad in ["", "1-2-3-4", &format!("{}-", id()), &format!("{}0", id())] {
            assert_eq!(TxnId::parse(bad), None, "{bad}");
        }
    }
}
