//! Strong edits: what had not seen them loses to them, whatever the stamps, and to what knew them.

use nuda_core::diff::json::diff;
use nuda_core::hlc::Stamp;
use nuda_core::merge::Reason;
use nuda_core::site::{Dot, Site};
use nuda_core::types::doc::document::Json;
use nuda_core::types::doc::loss::Loss;
use nuda_core::types::doc::merge::{Edited, Merge};
use nuda_core::types::doc::rules::Rules;
use nuda_core::version_vector::VersionVector;

fn dot(site: Site, seq: u64) -> Dot {
    Dot { site, seq }
}

fn site(n: u64) -> Site {
    Site::from_u64(100 + n).unwrap()
}

fn parse(text: &str) -> Json {
    Json::parse(text).unwrap()
}

/// A member that has some edits and gets others.
#[derive(Clone)]
struct Member {
    state: Merge,
    value: Option<Json>,
}

impl Member {
    fn new(text: &str) -> Self {
        Self {
            state: Merge::new(),
            value: Some(parse(text)),
        }
    }

    /// From one document to another, by whoever had seen these.
    fn take(
        &mut self,
        (dot, stamp): (Dot, u64),
        seen: &[(Site, u64)],
        (old, new): (&str, &str),
    ) -> Vec<Loss> {
        let seen: VersionVector = seen.iter().copied().collect();
        let change = diff(&parse(old), &parse(new), &Rules::default(), 10_000).unwrap();
        let edited = Edited {
            dot,
            stamp: Stamp::from_u64(stamp).unwrap(),
            seen: &seen,
            change: &change,
        };
        let mut lost = Vec::new();
        self.state.integrate(&edited, &mut self.value, &mut lost);
        lost
    }

    fn shows(&self) -> String {
        self.value.as_ref().map(Json::to_string).unwrap_or_default()
    }
}

const STRONG: Site = Site::LOG_STRONG;

#[test]
fn a_strong_edit_beats_what_had_not_seen_it_and_yields_to_what_had() {
    let base = r#"{"a":0,"list":[]}"#;
    let strong = ((dot(STRONG, 1), 5), r#"{"a":1,"list":[1]}"#);
    let late = ((dot(site(1), 1), 9), r#"{"a":2,"list":[2]}"#);
    for strong_first in [true, false] {
        let mut member = Member::new(base);
        let mut lost = Vec::new();
        for (who, new) in if strong_first {
            [strong, late]
        } else {
            [late, strong]
        } {
            lost.extend(member.take(who, &[], (base, new)));
        }
        // The list has what both inserted.
        assert!(member.shows().starts_with(r#"{"a":1,"list":["#));
        assert_eq!(member.shows().len(), r#"{"a":1,"list":[1,2]}"#.len());
        assert_eq!(lost.len(), 1);
        let told = (lost[0].path.as_str(), lost[0].value.as_str());
        assert_eq!((told, lost[0].reason), (("$.a", "2"), Reason::Strong));
        // Somebody with a slow clock has seen the strong one only.
        let seen = &[(STRONG, 1)];
        let (old, new) = (r#"{"a":1}"#, r#"{"a":3}"#);
        let lost = member.take((dot(site(2), 1), 6), seen, (old, new));
        assert!(member.shows().starts_with(r#"{"a":3,"#));
        assert_eq!(lost, []);
    }
}

#[test]
fn who_knew_a_strong_edit_beats_who_did_not() {
    let base = r#"{"a":0,"b":0}"#;
    let mut member = Member::new(base);
    member.take((dot(STRONG, 1), 5), &[], (base, r#"{"a":0,"b":1}"#));
    member.take((dot(site(1), 1), 9), &[], (base, r#"{"a":1,"b":0}"#));
    let old = r#"{"a":0,"b":1}"#;
    let new = r#"{"a":2,"b":1}"#;
    let lost = member.take((dot(site(2), 1), 6), &[(STRONG, 1)], (old, new));
    assert_eq!(member.shows(), new);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].reason, Reason::KnewStrong);
    assert_eq!(lost[0].loser.site, site(1));
}

#[test]
fn which_of_two_knew_a_strong_edit_is_not_forgotten_with_it() {
    // The second did not know the strong edit, the third did, so it counts, whatever the stamps.
    let base = r#"{"a":0,"b":0}"#;
    let all = |collapsed: bool| {
        let mut member = Member::new(base);
        member.take((dot(STRONG, 1), 5), &[], (base, r#"{"a":0,"b":1}"#));
        member.take((dot(site(1), 1), 10), &[], (base, r#"{"a":1,"b":0}"#));
        if collapsed {
            // All have both, but the third had not seen the second yet.
            member
                .state
                .collapse(&VersionVector::from_iter([(STRONG, 1)]));
        }
        let (old, new) = (r#"{"a":0,"b":1}"#, r#"{"a":2,"b":1}"#);
        let seen = &[(STRONG, 1)];
        member.take((dot(site(2), 1), 6), seen, (old, new));
        assert_eq!(member.shows(), new);
        let (old, new) = (r#"{"a":1,"b":1}"#, r#"{"b":1}"#);
        let seen = &[(STRONG, 1), (site(1), 1)];
        member.take((dot(site(3), 1), 11), seen, (old, new));
        assert_eq!(member.shows(), r#"{"a":2,"b":1}"#);
        member
    };
    let mut ends = [all(false), all(true)];
    let seen = [(STRONG, 1), (site(1), 1), (site(2), 1), (site(3), 1)];
    for end in &mut ends {
        end.state.collapse(&seen.into_iter().collect());
        assert!(end.state.is_trivial());
    }
}
