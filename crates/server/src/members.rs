//! Who is in which group: expressions over the labels that people set and devices report.

use std::collections::BTreeSet;

use edgeward_core::{DeviceId, GroupName};
use edgeward_store::{StoreError, View};

/// Most devices of a group that something is rolled out to. Each takes 11 bytes of the document that every device fetches.
pub(crate) const MEMBERS_MAX: usize = 100_000;

/// The members of a group; none if there is no such group.
pub(crate) fn of(view: &View<'_>, group: &GroupName) -> Result<Option<BTreeSet<DeviceId>>, StoreError> {
    let Some(expression) = view.groups()?.remove(group) else { return Ok(None) };
    let members = view.labels()?.into_iter().filter(|(_, labels)| expression.includes(labels));
    Ok(Some(members.map(|(device, _)| device).collect()))
}
