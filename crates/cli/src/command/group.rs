//! `edgeward group`: groups of devices by their labels.

use edgeward_api::operator::{Group, GroupRequest};
use edgeward_core::GroupName;

use super::remote::refused;
use crate::args::{GroupCommand, Remote};
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 3] = ["group", "devices", "where"];

pub(crate) fn run(command: &GroupCommand, out: Output) -> Outcome {
    match command {
        GroupCommand::Ls { remote } => list(remote, out),
        GroupCommand::Create { group, expression, remote } => {
            let request = GroupRequest { group: name(group)?, expression: expression.clone() };
            let made = remote.client()?.make_group(&request);
            let made = made.map_err(|error| refused(&format!("making the group {group}"), &error))?;
            out.document(&made, |made| format!("{} has {} devices now", made.group, made.devices.len()))
        }
        GroupCommand::Show { group, remote } => show(&name(group)?, remote, out),
        GroupCommand::Rm { group, remote } => {
            let removed = remote.client()?.remove_group(&name(group)?);
            let removed = removed.map_err(|error| refused(&format!("removing the group {group}"), &error))?;
            out.document(&removed, |removed| format!("{} is removed", removed.group))
        }
    }
}

fn name(text: &str) -> Result<GroupName, Failure> {
    GroupName::new(text).map_err(|error| Failure::usage(error.to_string()))
}

fn list(remote: &Remote, out: Output) -> Outcome {
    let groups = remote.client()?.groups().map_err(|error| refused("listing groups", &error))?;
    out.document(&groups, |groups| {
        let row = |group: &Group| {
            vec![group.group.to_string(), group.devices.len().to_string(), group.expression.clone()]
        };
        let rows: Vec<Vec<String>> = groups.groups.iter().map(row).collect();
        table(&HEADER, &rows, "no group yet; make one with `edgeward group create`")
    })
}

fn show(name: &GroupName, remote: &Remote, out: Output) -> Outcome {
    let groups = remote.client()?.groups().map_err(|error| refused("listing groups", &error))?;
    let Some(group) = groups.groups.into_iter().find(|group| group.group == *name) else {
        return Err(
            Failure::new("not_found", format!("there is no group {name}")).hint("see `edgeward group ls`")
        );
    };
    out.document(&group, |group| {
        let devices: Vec<&str> = group.devices.iter().map(edgeward_core::DeviceId::as_str).collect();
        format!("{}: {}\n{}", group.group, group.expression, devices.join("\n"))
    })
}
