//! Looking up a target: depth first through the roles that may vouch for its path, fetching each as it is reached.

use std::collections::BTreeSet;

use super::client::{Client, Found, Stage};
use super::refusal::{Reason, Refusal};
use super::{DELEGATIONS_MAX, metadata};

/// A look-up under way or done.
#[derive(Clone, Debug)]
pub(super) struct Search {
    path: String,
    /// Roles with who delegates to them; the last is asked first.
    to_visit: Vec<(String, String)>,
    visited: BTreeSet<String>,
    found: Option<Found>,
}

impl Client {
    /// Begins to look for `path`, once the refresh is through. What is wanted next is for this.
    ///
    /// # Errors
    /// A role that is known already settles that it is refused.
    pub fn look_up(&mut self, path: &str) -> Result<(), Refusal> {
        let to_visit = vec![("targets".to_owned(), "root".to_owned())];
        self.search = Some(Search { path: path.to_owned(), to_visit, visited: BTreeSet::new(), found: None });
        self.go_on_searching()
    }

    /// What the look-up found.
    ///
    /// # Errors
    /// Nobody who may vouch for it does.
    pub fn found(&self) -> Result<&Found, Refusal> {
        let search = self.search.as_ref();
        search.and_then(|search| search.found.as_ref()).ok_or_else(|| {
            Reason::NoSuchTarget.of(search.map_or_else(String::new, |search| metadata::cut(&search.path)))
        })
    }

    /// Visits roles until one is not here, the target is found, or none is left.
    pub(super) fn go_on_searching(&mut self) -> Result<(), Refusal> {
        let Some(mut search) = self.search.take() else { return Ok(()) };
        let outcome = self.visit_all(&mut search);
        self.search = Some(search);
        outcome
    }

    fn visit_all(&mut self, search: &mut Search) -> Result<(), Refusal> {
        while let Some((role, parent)) = search.to_visit.last().cloned() {
            if search.visited.contains(&role) {
                search.to_visit.pop();
                continue;
            }
            if search.visited.len() > DELEGATIONS_MAX {
                let (target, roles_max) = (metadata::cut(&search.path), DELEGATIONS_MAX);
                return Err(Reason::TooManyDelegations { target, roles_max }.of(metadata::cut(&role)));
            }
            if !self.want_targets(&role, &parent)? {
                return Ok(());
            }
            search.to_visit.pop();
            self.visit(search, role);
        }
        self.stage = Stage::Idle;
        Ok(())
    }

    fn visit(&self, search: &mut Search, role: String) {
        let Some(targets) = self.trusted.targets(&role) else { return };
        if let Some(target) = targets.targets.get(&search.path) {
            let (path, target) = (search.path.clone(), target.clone());
            search.found = Some(Found { role, path, target });
            return search.to_visit.clear();
        }
        let (children, terminating) = targets.delegates_for(&search.path);
        if terminating {
            search.to_visit.clear();
        }
        let children = children.into_iter().rev().map(|child| (child.to_owned(), role.clone()));
        search.to_visit.extend(children);
        search.visited.insert(role);
    }
}
