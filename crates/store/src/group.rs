//! Labels, groups, what each group runs, and pinned devices.

use std::collections::BTreeMap;

use edgeward_core::group::{Expression, Labels};
use edgeward_core::{DeviceId, Digest, GroupName, ModelName};

use crate::column::{Json, Text, params};
use crate::database::View;
use crate::error::StoreError;

/// What completed in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupBundle {
    /// The group.
    pub group: GroupName,
    /// The version that its devices run.
    pub version: u64,
    /// Its bundle.
    pub bundle: Digest,
}

impl View<'_> {
    /// Every device with its labels: those that people set, and over them those that it reports.
    ///
    /// # Errors
    /// The database fails.
    pub fn labels(&self) -> Result<BTreeMap<DeviceId, Labels>, StoreError> {
        const FACTS: &str = "SELECT id, facts FROM devices LEFT JOIN device_facts ON device = id ORDER BY id";
        const SET: &str = "SELECT device, key, value FROM device_labels";
        let facts: Vec<(DeviceId, Option<Labels>)> =
            self.rows("reading facts of devices", FACTS, &[], |row| {
                Ok((row.get::<Text<_>>(0)?.0, row.get::<Option<Json<_>>>(1)?.map(|json| json.0)))
            })?;
        let set: Vec<(DeviceId, String, String)> = self.rows("reading labels", SET, &[], |row| {
            Ok((row.get::<Text<_>>(0)?.0, row.get(1)?, row.get(2)?))
        })?;
        let mut labels: BTreeMap<DeviceId, Labels> =
            facts.into_iter().map(|(device, facts)| (device, facts.unwrap_or_default())).collect();
        for (device, key, value) in set {
            if let Some(labels) = labels.get_mut(&device) {
                labels.entry(key).or_insert(value);
            }
        }
        Ok(labels)
    }

    /// Every group by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn groups(&self) -> Result<BTreeMap<GroupName, Expression>, StoreError> {
        const SQL: &str = "SELECT name, expression FROM groups";
        let groups: Vec<_> = self.rows("reading the groups", SQL, &[], |row| {
            Ok((row.get::<Text<_>>(0)?.0, row.get::<Text<_>>(1)?.0))
        })?;
        Ok(groups.into_iter().collect())
    }

    /// What each group runs of a model where that is not what the others run, by the group's name.
    ///
    /// # Errors
    /// The database fails.
    pub fn group_bundles(&self, model: &ModelName) -> Result<Vec<GroupBundle>, StoreError> {
        const SQL: &str =
            "SELECT group_name, version, bundle FROM group_bundles WHERE model = ?1 ORDER BY group_name";
        self.rows("reading what groups run", SQL, params![Text(model)], |row| {
            Ok(GroupBundle {
                group: row.get::<Text<_>>(0)?.0,
                version: row.get(1)?,
                bundle: row.get::<Text<_>>(2)?.0,
            })
        })
    }

    /// Devices that are pinned to a bundle of a model.
    ///
    /// # Errors
    /// The database fails.
    pub fn pins(&self, model: &ModelName) -> Result<BTreeMap<DeviceId, Digest>, StoreError> {
        const SQL: &str = "SELECT device, bundle FROM pins WHERE model = ?1";
        let pins: Vec<_> = self.rows("reading pinned devices", SQL, params![Text(model)], |row| {
            Ok((row.get::<Text<_>>(0)?.0, row.get::<Text<_>>(1)?.0))
        })?;
        Ok(pins.into_iter().collect())
    }
}
