//! Consistency levels, as far as they can be kept: a level that cannot is an error, never
//! silently a weaker one. Every way of setting one answers the level in force.

/// One setting: its name, the value in force, and the values that need what is not built yet.
struct Level {
    name: &'static str,
    in_force: &'static str,
    later: &'static [&'static str],
}

const LEVELS: &[Level] = &[
    Level {
        name: "nuda_write_consistency",
        in_force: "eventual",
        later: &["quorum", "strong"],
    },
    Level {
        name: "nuda_read_consistency",
        in_force: "eventual",
        later: &["session", "bounded", "strong"],
    },
];

/// Answers `PRAGMA name[=value]`; `None` if it is none of ours.
pub(crate) fn pragma(name: &str, value: Option<&str>) -> Option<Result<String, String>> {
    let level = LEVELS.iter().find(|level| level.name == name)?;
    Some(set(level, value))
}

/// The function of the same name.
pub(crate) fn function(name: &str, value: Option<&str>) -> Result<String, String> {
    match LEVELS.iter().find(|level| level.name == name) {
        Some(level) => set(level, value),
        None => Err(format!("nuda: no such setting: {name}")),
    }
}

fn set(level: &Level, value: Option<&str>) -> Result<String, String> {
    let Some(value) = value.map(|v| v.trim().to_ascii_lowercase()) else {
        return Ok(level.in_force.to_owned());
    };
    if value == level.in_force {
        return Ok(value);
    }
    if level.later.contains(&value.as_str()) {
        return Err(format!(
            "nuda: {value} needs consensus, which is not built yet; {} stays {}",
            level.name, level.in_force
        ));
    }
    Err(format!(
        "nuda: '{value}' is no level; {} is {} or {}",
        level.name,
        level.in_force,
        level.later.join(", ")
    ))
}
