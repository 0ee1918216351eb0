//! Unknown keys: which table, which key, and what was probably meant.
//!
//! The known keys are read off the serde definitions themselves, so that a table has one definition only.

use edgeward_core::rollout::Gates;
use serde::de::value::Error as Captured;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use super::data::{DataTable, ValidateTable};
use super::tables::{
    AudioTable, ConvertTable, GateTable, ImageTable, MonitorTable, ParityTable, ProjectTable, RecordsTable,
    RetrainTable, RolloutTable, SourceTable, TrainTable, TriggerTable, VariantTable,
};
use super::{Document, ProjectError, RunnerTable, ShadowTable, ShadowsTable};

/// How like a known key (0 to 1, Jaro-Winkler) an unknown one must be for it to be offered.
const LIKENESS_MIN: f64 = 0.7;

type Fields = &'static [&'static str];

/// Every table of the file by its header, with its keys.
pub(super) fn tables() -> [(&'static str, Fields); 20] {
    [
        ("[project]", fields::<ProjectTable>()),
        ("[source]", fields::<SourceTable>()),
        ("[data]", fields::<DataTable>()),
        ("[validate]", fields::<ValidateTable>()),
        ("[train]", fields::<TrainTable>()),
        ("[runner]", fields::<RunnerTable>()),
        ("[convert]", fields::<ConvertTable>()),
        ("[convert.parity]", fields::<ParityTable>()),
        ("[[convert.variant]]", fields::<VariantTable>()),
        ("[gate]", fields::<GateTable>()),
        ("[monitor]", fields::<MonitorTable>()),
        ("[monitor.image]", fields::<ImageTable>()),
        ("[monitor.audio]", fields::<AudioTable>()),
        ("[records]", fields::<RecordsTable>()),
        ("[[trigger]]", fields::<TriggerTable>()),
        ("[retrain]", fields::<RetrainTable>()),
        ("[rollout]", fields::<RolloutTable>()),
        ("[rollout.gates]", fields::<Gates>()),
        ("[[shadow]]", fields::<ShadowTable>()),
        ("[shadows]", fields::<ShadowsTable>()),
    ]
}

/// Refuses the first key that is not known.
pub(super) fn check(document: &Table, file: &str) -> Result<(), ProjectError> {
    check_table(file, "the file", document, fields::<Document>())?;
    for (header, known) in tables() {
        let path = header.trim_matches(['[', ']']).split('.');
        let mut found = vec![document];
        for name in path {
            found = found.iter().filter_map(|table| table.get(name)).flat_map(inner_tables).collect();
        }
        for table in found {
            check_table(file, header, table, known)?;
        }
    }
    Ok(())
}

/// `value` if it is a table, or the tables in it if it is a list.
fn inner_tables(value: &Value) -> Vec<&Table> {
    match value {
        Value::Table(table) => vec![table],
        Value::Array(entries) => entries.iter().filter_map(Value::as_table).collect(),
        _ => Vec::new(),
    }
}

fn check_table(file: &str, header: &str, table: &Table, known: Fields) -> Result<(), ProjectError> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    Err(ProjectError::UnknownKey {
        file: file.to_owned(),
        table: header.to_owned(),
        key: key.clone(),
        hint: Some(hint(header, key, known)),
    })
}

fn hint(header: &str, key: &str, known: Fields) -> String {
    if let Some(near) = nearest(key, known) {
        return format!("; did you mean '{near}'?");
    }
    let elsewhere = |(other, keys): &(&str, Fields)| *other != header && keys.contains(&key);
    if let Some((other, _)) = tables().iter().find(|table| elsewhere(table)) {
        return format!("; '{key}' belongs in {other}");
    }
    format!("; its keys are {}", known.join(", "))
}

fn nearest(key: &str, known: Fields) -> Option<&'static str> {
    let likeness = |candidate: &&str| strsim::jaro_winkler(key, candidate);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= LIKENESS_MIN).then_some(best)
}

/// The field names of a struct, as serde knows them.
fn fields<T: DeserializeOwned>() -> Fields {
    let mut found: Fields = &[];
    let _: Result<T, Captured> = T::deserialize(Capture { found: &mut found });
    found
}

/// A deserializer that notes which fields it was asked for and then gives up.
struct Capture<'a> {
    found: &'a mut Fields,
}

impl<'de> Deserializer<'de> for Capture<'_> {
    type Error = Captured;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Captured> {
        Err(serde::de::Error::custom("only the fields are wanted"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Captured> {
        *self.found = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_keys() {
        for (header, keys) in tables() {
            assert!(!keys.is_empty(), "{header}");
        }
        assert!(fields::<Document>().contains(&"trigger"));
    }
}
