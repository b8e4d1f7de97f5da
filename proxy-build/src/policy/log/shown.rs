//! Descriptions of `log access` for `explain` and `diff`.

use proxy_runtime::site::{self, EVERY, FACILITIES, LogCondition, LogFormat, LogTarget, Setting, Text};

use crate::model::Site;
use crate::wording;

/// Returns a log on one line.
pub(super) fn explained(site: &Site, log: &site::Log) -> String {
    let outputs: Vec<_> = outputs(site, log).collect();
    let mut said = match &log.format {
        LogFormat::Json(_) => "json".to_owned(),
        LogFormat::Template(_) => "template".to_owned(),
    };
    if outputs != ["stdout"] {
        said += &format!(" to {}", outputs.join(" and to "));
    }
    if !log.when.is_empty() {
        let when: Vec<_> = log.when.iter().map(condition).collect();
        said += &format!(" when {}", when.join(" or "));
    }
    if log.sample != EVERY {
        said += &format!(", a sample of {} beside errors", share(log.sample));
    }
    said
}

/// Returns a log by subject, for differences.
pub(super) fn described(site: &Site, log: &site::Log) -> Vec<(String, String)> {
    let mut said: Vec<(String, String)> = Vec::new();
    let mut say = |subject: &str, text: String| said.push((subject.to_owned(), text));
    match &log.format {
        LogFormat::Json(members) => {
            say("log format", if members.ecs { "json names=ecs" } else { "json" }.to_owned());
            members.list.iter().for_each(|member| say("log fields", member.name.to_string()));
        }
        LogFormat::Template(template) => {
            let pieces = template.pieces.iter().map(|piece| format!("{piece:?}")).collect::<Vec<_>>();
            say("log format", pieces.join(" "));
        }
    }
    outputs(site, log).for_each(|output| say("log to", output));
    log.when.iter().for_each(|when| say("log when", condition(when)));
    if log.sample != EVERY {
        say("log sample", share(log.sample));
    }
    said
}

fn outputs(site: &Site, log: &site::Log) -> impl Iterator<Item = String> {
    let found = log.outputs.iter().filter_map(|&number| site.outputs.get(usize::from(number)));
    found.map(|output| target(site, &output.target))
}

/// Returns an output, approximately as written.
pub(crate) fn target(site: &Site, target: &LogTarget) -> String {
    let text = |setting: &Setting<Text>| match setting {
        Setting::Fixed(text) => text.to_string(),
        Setting::Param(param) => format!("(param){}", site.params[usize::from(*param)].name),
    };
    match target {
        LogTarget::Stdout => "stdout".to_owned(),
        LogTarget::Stderr => "stderr".to_owned(),
        LogTarget::Journal(path) => format!("journal {}", text(path)),
        LogTarget::Syslog(syslog) => {
            let facility =
                FACILITIES.iter().find(|(_, number)| *number == syslog.facility).map_or("", |(name, _)| name);
            format!("syslog {} facility={facility} tag={}", text(&syslog.address), syslog.tag)
        }
        LogTarget::File(file) => match &file.rotate {
            None => format!("file {}", text(&file.path)),
            Some(Setting::Fixed(size)) => {
                format!("file {} rotate={} keep={}", text(&file.path), wording::size(*size), file.keep)
            }
            Some(Setting::Param(param)) => {
                let name = &site.params[usize::from(*param)].name;
                format!("file {} rotate=(param){name} keep={}", text(&file.path), file.keep)
            }
        },
    }
}

fn condition(condition: &LogCondition) -> String {
    let LogCondition { status, reason, at_least, below, route } = condition;
    let said = [
        status.map(
            |(first, last)| if first == last { format!("status={first}") } else { format!("status={first}-{last}") },
        ),
        reason.as_ref().map(|reason| format!("reason={reason}")),
        at_least.map(|least| format!("duration>={}", wording::duration(least))),
        below.map(|below| format!("duration<{}", wording::duration(below))),
        route.as_ref().map(|route| format!("route={route}")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Returns a share of a million as a percentage.
fn share(share: u32) -> String {
    let (whole, decimals) = (share / 10_000, format!("{:04}", share % 10_000));
    match decimals.trim_end_matches('0') {
        "" => format!("{whole}%"),
        decimals => format!("{whole}.{decimals}%"),
    }
}
