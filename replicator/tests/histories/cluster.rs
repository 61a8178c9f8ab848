//! Three nodes with a partition for each workload, and what must be true of them in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::applications::{Application, Language, Start};
use crate::check::{Verdict, acknowledged};
use crate::faults::POWER;
use crate::history::{Call, End, Record};
use crate::power::{self, Disk};
use crate::run::Plan;
use crate::support::definitions::make_tables;
use crate::support::{Mounted, Nodes, free_address, skipped, succeeds};
use crate::workloads::{Fresh, Workload, beside, keep, kept, strongly};

/// The nodes of every run.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Which node's disk can be filled.
pub(crate) const SMALL: &str = "b";

/// Nodes, and what the faults need.
pub(crate) struct Cluster {
    /// Gone before the directory that it is mounted in.
    _small: Option<Mounted>,
    /// Disks that can lose their power, by node; none unless the plan cuts it.
    pub(crate) disks: BTreeMap<String, Disk>,
    pub(crate) nodes: Nodes,
    /// How long everything may take to be as before, after the last fault.
    healing: Duration,
    /// The partitions' names.
    pub(crate) partitions: Vec<&'static str>,
    pub(crate) has_small: bool,
    pub(crate) has_clocks: bool,
}

impl Cluster {
    /// Starts nodes and makes the partitions; `None` if the plan cuts the power and this machine
    /// cannot.
    pub(crate) fn start(plan: &Plan) -> Option<Self> {
        let mut nodes = Nodes::start_with(&[], &[]);
        nodes.envs.clone_from(&plan.envs);
        let cuts = plan
            .faults
            .iter()
            .any(|kind| POWER.contains(&kind.as_str()));
        let disks = if cuts {
            power::disks(&mut nodes)?
        } else {
            BTreeMap::new()
        };
        // One thing at a time is mounted on a node.
        let small = if cuts { None } else { small_disk(&nodes) };
        let has_clocks = clocks(&mut nodes);
        for name in NAMES {
            // After a restart of all they must find each other where they were.
            nodes.listen.insert(name.to_owned(), free_address());
            nodes.run(name);
        }
        let cluster = Self {
            healing: plan.healing,
            partitions: plan.workloads.iter().map(|w| w.partition()).collect(),
            has_small: small.is_some(),
            _small: small,
            disks,
            nodes,
            has_clocks,
        };
        for workload in &plan.workloads {
            cluster.make(*workload);
        }
        // A cut is about what the applications do, not about how the tables were made.
        cluster.disks.values().for_each(Disk::settle);
        Some(cluster)
    }

    fn make(&self, workload: Workload) {
        let name = workload.partition();
        self.nodes
            .nuda_ok("a", &["create", name, "--on", &NAMES.join(",")]);
        make_tables(&self.nodes, &self.nodes.open("a", name), workload.tables());
        for node in NAMES {
            let conn = self.nodes.open(node, name);
            self.nodes.eventually("the tables are everywhere", |_| {
                let look = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
                let there = conn.query_row(workload.look(), [], look).ok()?;
                let level = "SELECT nuda_read_consistency('strong')";
                let level = conn.query_row(level, [], |row| row.get::<_, String>(0));
                (there && level.is_ok()).then_some(())
            });
        }
    }

    /// How to start an application of a workload on a node.
    pub(crate) fn application(&self, node: &str, workload: Workload, language: Language) -> Start {
        Start {
            file: self.nodes.file(node, workload.partition()),
            language,
            envs: self.nodes.envs_of(node),
            under: self.nodes.under_of(node),
        }
    }

    /// After the faults: every node takes strong writes and reads again, which are part of the
    /// history, and all nodes are equal. Answers how long the first took.
    pub(crate) fn heal(&self, workload: Workload, record: &Record, fresh: &Fresh) -> Duration {
        let began = Instant::now();
        for node in NAMES {
            let start = self.application(node, workload, Language::Rust);
            let mut application = start.run();
            for asked in last_questions(workload, node, fresh) {
                self.insist(&mut application, node, record, &asked);
            }
        }
        let healed = began.elapsed();
        self.nodes.verify("a", workload.partition());
        healed
    }

    /// Asks until it is acknowledged.
    fn insist(&self, application: &mut Application, node: &str, record: &Record, asked: &Value) {
        let until = Instant::now() + self.healing;
        let mut process = record.process();
        loop {
            let answer = tell(application, record, (process, node), asked);
            match answer {
                End::Ok(..) => return,
                End::Fail(..) => {}
                End::Unknown(_) => process = record.process(),
            }
            if Instant::now() > until {
                let status = NAMES.map(|name| self.nodes.nuda_ok(name, &["status"]));
                panic!(
                    "{node} does not heal: {asked}: {answer:?}\n{}\n{}",
                    status.join("\n"),
                    self.nodes.logs()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What each node has of the quorum writes.
    pub(crate) fn check_kept(&self, calls: &[Call]) -> Verdict {
        for node in NAMES {
            let conn = self.nodes.open(node, Workload::Quorum.partition());
            let mut query = conn.prepare("SELECT CAST(id AS TEXT) FROM kept").unwrap();
            let ids: rusqlite::Result<Vec<String>> =
                query.query_map([], |row| row.get(0)).unwrap().collect();
            let ids = ids.unwrap();
            acknowledged::check(calls, "keep", node, &ids)?;
            let sql = "SELECT kept FROM tally";
            let counted: usize = conn.query_row(sql, [], |row| row.get(0)).unwrap();
            if counted != ids.len() {
                return Err(format!("{node} counts {counted} and has {}", ids.len()));
            }
        }
        Ok(())
    }

    /// What each node's sets hold, against what was acknowledged.
    pub(crate) fn check_sets(&self, calls: &[Call]) -> Verdict {
        for node in NAMES {
            let conn = self.nodes.open(node, Workload::Sets.partition());
            let ids = |sql: &str| -> Vec<String> {
                let mut query = conn.prepare(sql).unwrap();
                let rows = query.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            };
            acknowledged::check(calls, "add", node, &ids("SELECT id FROM item"))?;
            let notes = ids("SELECT id FROM note");
            acknowledged::check(calls, "note", node, &notes)?;
            let sql = "SELECT notes FROM tally";
            let tally: usize = conn.query_row(sql, [], |row| row.get(0)).unwrap();
            if tally != notes.len() {
                return Err(format!(
                    "{node} counts {tally} notes and has {}",
                    notes.len()
                ));
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// What each node has of the eventual writes beside the registers.
    pub(crate) fn check_beside(&self, calls: &[Call]) -> Verdict {
        for node in NAMES {
            let conn = self.nodes.open(node, Workload::Mixed.partition());
            let sql = "SELECT CAST(-id AS TEXT) FROM register WHERE id < 0";
            let mut query = conn.prepare(sql).unwrap();
            let ids: rusqlite::Result<Vec<String>> =
                query.query_map([], |row| row.get(0)).unwrap().collect();
            acknowledged::check(calls, "beside", node, &ids.unwrap())?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // While everything is still mounted.
        if std::thread::panicking() {
            self.nodes.keep();
        }
    }
}

/// Asks one question and records it.
pub(crate) fn tell(
    application: &mut Application,
    record: &Record,
    (process, node): (u64, &str),
    asked: &Value,
) -> End {
    let place = record.begin(process, node, asked);
    let answer = application.ask(asked);
    let end = |at: u64| match &answer {
        None => End::Unknown("the application died".to_owned()),
        Some(said) => match (said.get("ok"), &said["fail"], &said["unknown"]) {
            (Some(ok), _, _) => End::Ok(at, ok.clone()),
            (None, Value::String(why), _) => End::Fail(at, why.clone()),
            (None, _, why) => End::Unknown(why.to_string()),
        },
    };
    let position = answer.as_ref().and_then(|said| said["position"].as_u64());
    let mut told = None;
    record.end(place, position, |at| told.insert(end(at)).clone());
    told.unwrap_or_else(|| End::Unknown("not recorded".to_owned()))
}

/// A write and a look at everything.
fn last_questions(workload: Workload, node: &str, fresh: &Fresh) -> Vec<Value> {
    let only = |asked: Value| vec![asked];
    match workload {
        Workload::Lists => {
            let mut ops: Vec<Value> = fresh.lists().map(|id| json!(["r", id])).collect();
            let append = json!([["append", 0, fresh.next()]]);
            ops.push(append[0].clone());
            only(json!({"do": "lists", "begin": "BEGIN IMMEDIATE", "ops": ops}))
        }
        Workload::Registers => registers(fresh).to_vec(),
        Workload::Mixed => {
            let [write, read] = registers(fresh).map(strongly);
            vec![write, beside(&fresh.next().to_string()), read]
        }
        Workload::Bank => vec![
            json!({"do": "transfer", "from": 0, "to": 1, "amount": 1}),
            json!({"do": "balances", "begin": "BEGIN"}),
            json!({"do": "balances", "begin": "BEGIN", "level": "eventual"}),
        ],
        Workload::Sets => vec![
            json!({"do": "add", "id": format!("last {node}")}),
            json!({"do": "note", "id": format!("last {node}")}),
        ],
        Workload::Quorum => {
            let id = fresh.next();
            vec![keep(id), kept(json!({"level": "strong"}), id)]
        }
    }
}

/// A file system of 128 MB for one node: write-ahead logs of all partitions grow while somebody stands still.
fn small_disk(nodes: &Nodes) -> Option<Mounted> {
    let dir = nodes.dir(SMALL);
    std::fs::create_dir(&dir).unwrap();
    let path = dir.to_str().unwrap();
    let mounted = succeeds("mount", &["-t", "tmpfs", "-o", "size=128m", "tmpfs", path]);
    if !mounted {
        skipped("full disks in the histories: a tmpfs cannot be mounted (not root?)");
    }
    mounted.then_some(Mounted(dir))
}

/// Where a node's clock offset is read from, once a second.
pub(crate) fn clock_file(nodes: &Nodes, name: &str) -> std::path::PathBuf {
    nodes.home.path().join(format!("{name}.clock"))
}

/// Every node and its applications get a clock that can be set while they run.
fn clocks(nodes: &mut Nodes) -> bool {
    let Some(library) = crate::support::faketime() else {
        skipped("clock jumps in the histories: no libfaketime; apt-get install faketime");
        return false;
    };
    for name in NAMES {
        std::fs::write(clock_file(nodes, name), "+0\n").unwrap();
    }
    let file = nodes.home.path().join("{node}.clock");
    for (name, value) in [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ] {
        nodes.envs.push((name.to_owned(), value.to_owned()));
    }
    true
}

fn registers(fresh: &Fresh) -> [Value; 2] {
    [
        json!({"do": "register", "key": 0, "op": ["write", fresh.next()]}),
        json!({"do": "register", "key": 0, "op": ["read"]}),
    ]
}
