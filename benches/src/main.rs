//! `cargo run --release -p nuda-benches [-- --quick] [--json] [--only NAME]`: NUDA beside plain
//! SQLite.
//!
//! Every number is a ratio of two medians that were measured in the same run, alternately, each
//! in a process of its own (see [`measure`]): absolute times of one machine say nothing about
//! another. The same SQLite serves both sides. `report` prints, `table` is the workload.
//!
//! What the column types cost is measured the same way ([`typed`]). What only running daemons show ([`live`]) is measured with three processes on loopback (see
//! [`cluster`]), in units of its own ([`finding`]).

mod beside;
mod clients;
mod cluster;
mod distance;
mod etcd;
mod failover;
mod fair;
mod ffi;
mod finding;
mod idle;
mod latency;
mod live;
mod measure;
mod probe;
mod proxy;
mod references;
mod report;
mod strong;
mod table;
mod typed;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use measure::Measure;
use report::{Line, Target};
use table::{Engine, Key};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((first, rest)) if first == "child" => child(rest),
        Some((first, rest)) if first == "typed" => typed::answer(rest),
        Some((first, _)) if first == "--help" || first == "-h" => {
            print!("{}", help());
            Ok(())
        }
        _ => parent(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuda-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `child MEASURE ENGINE KEY COUNT DIRECTORY`: prints the number.
fn child(args: &[String]) -> Result<()> {
    let [measure, engine, key, count, directory] = args else {
        return Err("child needs five arguments".into());
    };
    let measure = Measure::ALL
        .into_iter()
        .find(|m| m.name() == measure)
        .ok_or("no such measure")?;
    let engine = match engine.as_str() {
        "plain" => Engine::Plain,
        "nuda" => Engine::Nuda,
        _ => return Err("no such engine".into()),
    };
    let key = Key::ALL
        .into_iter()
        .find(|k| k.name() == key)
        .ok_or("no such key")?;
    let value = measure::run(measure, engine, key, count.parse()?, Path::new(directory))?;
    println!("{value}");
    Ok(())
}

fn help() -> String {
    let list = |names: &mut dyn Iterator<Item = &'static str>| names.collect::<Vec<_>>().join(" ");
    format!(
        "NUDA beside plain SQLite; docs/benchmarks.md says what each measure is.\n\n\
         nuda-benches [--quick] [--json] [--only NAME]\n\n\
         --quick      a tenth of the rows and partitions, fewer repetitions\n\
         --json       for programs\n\
         --only NAME  one of\n  \
         tables:       {}\n  \
         column types: {}\n  \
         with daemons: {}\n",
        list(&mut Measure::ALL.into_iter().map(Measure::name)),
        list(&mut typed::NAMES.into_iter()),
        list(&mut live::NAMES.into_iter()),
    )
}

/// What the caller asked for.
struct Options {
    quick: bool,
    json: bool,
    only: Option<String>,
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options {
        quick: false,
        json: false,
        only: None,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--json" => options.json = true,
            "--only" => options.only = Some(args.next().ok_or("--only needs a name")?.clone()),
            other => {
                return Err(format!("unknown argument {other}; see --help").into());
            }
        }
    }
    let mut names = Measure::ALL
        .into_iter()
        .map(Measure::name)
        .chain(typed::NAMES)
        .chain(live::NAMES);
    match &options.only {
        Some(only) if names.all(|name| name != only) => {
            Err(format!("there is no measure {only}; --help has the names").into())
        }
        _ => Ok(options),
    }
}

fn parent(args: &[String]) -> Result<()> {
    let options = options(args)?;
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut lines = Vec::new();
    for measure in Measure::ALL {
        if !wanted(measure.name()) {
            continue;
        }
        for key in Key::ALL {
            let line = compare(measure, key, options.quick)?;
            if !options.json {
                eprintln!("{}", report::progress(&line));
            }
            lines.push(line);
        }
    }
    let mut findings = Vec::new();
    for name in typed::NAMES.into_iter().filter(|name| wanted(name)) {
        for finding in typed::run(name, options.quick)? {
            if !options.json {
                eprintln!("{name:8} {}", finding.row());
            }
            findings.push(finding);
        }
    }
    for name in live::NAMES.into_iter().filter(|name| wanted(name)) {
        for finding in live::run(name, options.quick)? {
            if !options.json {
                eprintln!("{name:8} {}", finding.row());
            }
            findings.push(finding);
        }
    }
    let library = library_bytes();
    if options.json {
        println!("{}", report::json(&lines, library, &findings));
    } else {
        print!("{}", report::markdown(&lines, library, &findings));
    }
    Ok(())
}

/// How often each side is measured.
fn repetitions(measure: Measure, quick: bool) -> usize {
    match (measure, quick) {
        (Measure::Wal | Measure::Size | Measure::Memory, _) => 1,
        (_, true) => 3,
        (Measure::Read, false) => 9,
        (_, false) => 7,
    }
}

/// Measures both sides alternately.
fn compare(measure: Measure, key: Key, quick: bool) -> Result<Line> {
    let (mut plain, mut nuda) = (Vec::new(), Vec::new());
    for _ in 0..repetitions(measure, quick) {
        plain.push(spawn(measure, Engine::Plain, key, quick)?);
        nuda.push(spawn(measure, Engine::Nuda, key, quick)?);
    }
    Ok(Line {
        measure,
        key,
        plain: median(plain),
        nuda: median(nuda),
        target: Target::of(measure),
        count: measure.count(quick),
    })
}

fn spawn(measure: Measure, engine: Engine, key: Key, quick: bool) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["child", measure.name(), engine.name(), key.name()])
        .arg(measure.count(quick).to_string())
        .arg(directory.path())
        .output()?;
    if !output.status.success() {
        return Err(format!(
            "{} {} {}: {}",
            measure.name(),
            engine.name(),
            key.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Size of the loadable library that was built with this program; the newest, if the build
/// left several.
fn library_bytes() -> Option<u64> {
    let exe = std::env::current_exe().ok()?;
    let directory = exe.parent()?;
    let candidates: [PathBuf; 2] = [
        directory.join("libnuda.so"),
        directory.join("deps/libnuda.so"),
    ];
    let newest = candidates
        .iter()
        .filter_map(|path| path.metadata().ok())
        .max_by_key(|found| found.modified().ok())?;
    Some(newest.len())
}
