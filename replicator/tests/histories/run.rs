//! One run: applications at work, faults, and the verdict on what the applications were told.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::applications::{Application, Language, Running, Start, loadable};
use crate::check::{Verdict, bank, lists, positions, registers, visible};
use crate::cluster::{Cluster, NAMES, tell};
use crate::faults::{self, KINDS, POWER};
use crate::history::{Call, End, Record};
use crate::rng::Rng;
use crate::support::skipped;
use crate::workloads::{ACCOUNTS, ALL, Fresh, SUM, Workload, next};

/// What a run that found nothing wrong has done.
pub(crate) enum Done {
    /// As it was told.
    Everything,
    /// This machine cannot do such faults.
    Nothing,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) lasts: Duration,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) faults: Vec<String>,
    /// How long everything may take to be as before, after the last fault.
    pub(crate) healing: Duration,
    /// Further environment of the daemons and applications.
    pub(crate) envs: Vec<(String, String)>,
}

impl Plan {
    /// What is run each time.
    pub(crate) fn short() -> Self {
        Self {
            seed: 1,
            lasts: Duration::from_secs(40),
            workloads: ALL.to_vec(),
            faults: KINDS.map(str::to_owned).to_vec(),
            healing: Duration::from_secs(60),
            envs: Vec::new(),
        }
    }

    /// Power cuts only. Applications commit strong transactions without an fsync of their own.
    pub(crate) fn power(seconds: u64) -> Self {
        Self {
            lasts: Duration::from_secs(seconds),
            faults: POWER.map(str::to_owned).to_vec(),
            envs: vec![("NUDA_PROOF_SYNC".to_owned(), "NORMAL".to_owned())],
            ..Self::short()
        }
    }

    /// `NUDA_PROOF_SEED`, `NUDA_PROOF_SECONDS`, `NUDA_PROOF_FAULTS` (names, by commas) and
    /// `NUDA_PROOF_WORKLOADS` (names of partitions).
    pub(crate) fn from_environment() -> Self {
        let told = |name: &str| std::env::var(format!("NUDA_PROOF_{name}")).ok();
        let number = |name: &str| told(name).map(|text| text.parse::<u64>().unwrap());
        let names = |name: &str| -> Option<Vec<String>> {
            Some(told(name)?.split(',').map(str::to_owned).collect())
        };
        let mut plan = Self::short();
        plan.seed = number("SEED").unwrap_or_else(|| {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap();
            now.as_secs()
        });
        plan.lasts = Duration::from_secs(number("SECONDS").unwrap_or(300));
        plan.faults = names("FAULTS").unwrap_or(plan.faults);
        plan.faults.retain(|kind| !kind.is_empty());
        if let Some(chosen) = names("WORKLOADS") {
            let is_chosen = |w: &Workload| chosen.iter().any(|name| name == w.partition());
            plan.workloads.retain(is_chosen);
        }
        plan
    }

    /// Does it all; what is wrong, if anything is.
    pub(crate) fn run(&self) -> Result<Done, String> {
        println!(
            "seed {}, {} s, faults {}",
            self.seed,
            self.lasts.as_secs(),
            self.faults.join(",")
        );
        let Some(cluster) = Cluster::start(self) else {
            return Ok(Done::Nothing);
        };
        self.run_on(cluster)
    }

    fn run_on(&self, mut cluster: Cluster) -> Result<Done, String> {
        let began = Instant::now();
        let (records, fresh) = (Records::default(), Numbers::default());
        let clients = self.clients(&cluster);
        let running = Running::default();
        let until = Instant::now() + self.lasts;
        let faults = (self.faults.as_slice(), self.seed, clients.len());
        let done = std::thread::scope(|scope| {
            for (number, client) in clients.iter().enumerate() {
                let (records, fresh, running) = (&records, &fresh, &running);
                let rng = Rng::stream(self.seed, 1 + number as u64);
                scope.spawn(move || {
                    let record = &records.0[client.workload as usize];
                    let fresh = &fresh.0[client.workload as usize];
                    client.work(number, (record, fresh), running, rng, until);
                });
            }
            faults::keep_going(&mut cluster, &running, faults, until)
        });
        println!("faults done: {done:?}");
        let mut wrong = String::new();
        for workload in &self.workloads {
            let record = &records.0[*workload as usize];
            let healed = cluster.heal(*workload, record, &fresh.0[*workload as usize]);
            let calls = record.calls();
            println!("{}\n    healed in {healed:?}", told(*workload, &calls));
            if let Err(why) = judge(*workload, &calls, &cluster) {
                let _ = writeln!(wrong, "{}: {why}", workload.partition());
            }
            println!("    judged after {:?}", began.elapsed());
        }
        if wrong.is_empty() {
            return Ok(match done.is_empty() && !self.faults.is_empty() {
                true => Done::Nothing,
                false => Done::Everything,
            });
        }
        self.keep(&records);
        cluster.nodes.keep();
        Err(format!("seed {}: {wrong}", self.seed))
    }

    /// For negative controls: something is wrong, or the nodes do not even heal. Where the machine
    /// cannot do the faults, nothing is. What is broken may do no harm by chance, but not each of
    /// several times.
    pub(crate) fn must_fail(&self) {
        for seed in self.seed..self.seed + 4 {
            let plan = Self {
                seed,
                ..self.clone()
            };
            // That they cannot even start would prove nothing.
            let Some(cluster) = Cluster::start(&plan) else {
                return;
            };
            let run = std::panic::AssertUnwindSafe(|| plan.run_on(cluster));
            match std::panic::catch_unwind(run) {
                Err(_) => return println!("as it must be: the nodes do not heal"),
                Ok(Err(why)) => return println!("as it must be: {why}"),
                Ok(Ok(Done::Everything)) => println!("nobody noticed what was broken"),
                Ok(Ok(Done::Nothing)) => return,
            }
        }
        panic!("nobody ever noticed what was broken");
    }

    /// An application for each workload on each node; one of all is in Python.
    fn clients(&self, cluster: &Cluster) -> Vec<Client> {
        let mut clients = Vec::new();
        let mut python = loadable();
        if python.is_none() {
            skipped("an application in Python: /usr/bin/python3 loads no extensions");
        }
        for workload in &self.workloads {
            for node in NAMES {
                let language = match python.take_if(|_| node == "c") {
                    Some(library) => Language::Python(library),
                    None => Language::Rust,
                };
                clients.push(Client {
                    node: node.to_owned(),
                    workload: *workload,
                    start: cluster.application(node, *workload, language),
                });
            }
        }
        clients
    }

    /// Keeps the histories of a run that failed.
    fn keep(&self, records: &Records) {
        let folder = std::env::temp_dir().join(format!("nuda-histories-{}", self.seed));
        let _ = std::fs::create_dir_all(&folder);
        for workload in &self.workloads {
            let calls = records.0[*workload as usize].calls();
            let lines: Vec<String> = calls.iter().map(|call| format!("{call:?}")).collect();
            let _ = std::fs::write(folder.join(workload.partition()), lines.join("\n"));
        }
        println!("the histories are in {}", folder.display());
    }
}

/// One history for each workload.
#[derive(Debug, Default)]
struct Records([Record; 6]);

#[derive(Debug, Default)]
struct Numbers([Fresh; 6]);

/// An application, started again as often as it dies.
struct Client {
    node: String,
    workload: Workload,
    start: Start,
}

impl Client {
    fn work(
        &self,
        number: usize,
        (record, fresh): (&Record, &Fresh),
        running: &Running,
        mut rng: Rng,
        until: Instant,
    ) {
        let mut application: Option<Application> = None;
        let mut process = record.process();
        while Instant::now() < until {
            if application.is_none() {
                application = running.start(number, &self.node, &self.start);
            }
            let Some(current) = application.as_mut() else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let asked = next(self.workload, &mut rng, fresh);
            let end = tell(current, record, (process, &self.node), &asked);
            if let End::Ok(_, answer) = &end {
                fresh.carry(&asked, answer);
            }
            if let End::Unknown(why) = &end {
                process = record.process();
                if why.contains("died") {
                    running.ended(number);
                    application = None;
                }
            }
            // An application, not a benchmark; and one that was refused does not insist.
            let refused = matches!(end, End::Fail(..));
            let pause_ms = if refused { 20 } else { 5 } + rng.below(20);
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
        running.ended(number);
    }
}

/// How many calls ended how.
fn told(workload: Workload, calls: &[Call]) -> String {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for call in calls {
        let end = match &call.end {
            End::Ok(..) => "acknowledged".to_owned(),
            End::Fail(_, why) if why.contains("was first") => "overtaken".to_owned(),
            End::Fail(_, why) => format!("failed: {}", why.chars().take(90).collect::<String>()),
            End::Unknown(why) => format!("unknown: {}", why.chars().take(90).collect::<String>()),
        };
        *ends.entry(end).or_default() += 1;
    }
    let longest = calls.iter().map(Call::took).max().unwrap_or_default();
    let mut text = format!(
        "{}: {} calls, the longest took {longest:?}",
        workload.partition(),
        calls.len()
    );
    for (end, times) in ends {
        let _ = write!(text, "\n    {times:6} {end}");
    }
    text
}

/// All that can be said about a history.
fn judge(workload: Workload, calls: &[Call], cluster: &Cluster) -> Verdict {
    positions::check(calls)?;
    match workload {
        Workload::Lists => lists::check(calls),
        Workload::Registers => registers::check(calls),
        Workload::Bank => bank::check(calls, ACCOUNTS, SUM),
        Workload::Sets => cluster.check_sets(calls),
        Workload::Quorum => {
            visible::check(calls)?;
            cluster.check_kept(calls)
        }
        Workload::Mixed => {
            registers::check(calls)?;
            cluster.check_beside(calls)
        }
    }
}
