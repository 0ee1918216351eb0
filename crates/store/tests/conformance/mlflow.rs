//! What MLflow's clients keep: documents, labels, metrics, artifacts.

use edgeward_core::Digest;
use edgeward_store::{
    MlflowArtifact, MlflowDocument, MlflowKind, MlflowLabelKind, MlflowMetric, MlflowPoint, Store,
    StoreError, View,
};
use serde_json::json;

fn read<T>(store: &Store, query: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> T {
    store.read(query).unwrap()
}

fn document(id: &str, parent: &str, name: Option<&str>) -> MlflowDocument {
    let document = json!({ "id": id, "text": "a \"b\" ü" });
    MlflowDocument { id: id.to_owned(), parent: parent.to_owned(), name: name.map(str::to_owned), document }
}

fn point(owner: &str, step: i64, value: f64) -> MlflowMetric {
    let text = str::to_owned;
    MlflowMetric {
        owner: text(owner),
        key: text("loss"),
        point: MlflowPoint { at_ms: 10, step, value },
        run: text(owner),
        model: String::new(),
        dataset: String::new(),
        digest: String::new(),
    }
}

pub(crate) fn documents_and_labels(store: &Store) {
    let (kind, tag) = (MlflowKind::Experiment, MlflowLabelKind::Tag);
    assert_eq!(read(store, |view| view.mlflow_last_number(kind)), Some(0), "the default experiment is there");
    assert_eq!(read(store, |view| view.mlflow_named(kind, "Default")).unwrap().id, "0");
    store
        .write::<_, StoreError>(|writer| {
            writer.put_mlflow_document(kind, &document("11", "", Some("x")))?;
            writer.put_mlflow_document(kind, &document("9", "", Some("y")))?;
            writer.put_mlflow_document(kind, &document("9", "", Some("z")))?;
            writer.put_mlflow_document(MlflowKind::Run, &document("r1", "9", None))?;
            writer.put_mlflow_document(MlflowKind::Run, &document("r2", "9", None))?;
            writer.put_mlflow_label(tag, "r1", ("a", "1"))?;
            writer.put_mlflow_label(tag, "r1", ("a", "2"))?;
            writer.put_mlflow_label(tag, "r2", ("b", "3"))?;
            writer.put_mlflow_label(MlflowLabelKind::Param, "r2", ("b", "4"))
        })
        .unwrap();
    assert_eq!(read(store, |view| view.mlflow_last_number(kind)), Some(11));
    assert_eq!(read(store, |view| view.mlflow_document(kind, "9")), Some(document("9", "", Some("z"))));
    assert_eq!(read(store, |view| view.mlflow_named(kind, "y")), None);
    let twice = store.write(|writer| writer.put_mlflow_document(kind, &document("12", "", Some("x"))));
    assert!(matches!(twice, Err(StoreError::Sql { .. })), "{twice:?}");
    let below = |key: Option<&str>| {
        let found = read(store, |view| view.mlflow_labels_below(tag, (MlflowKind::Run, "9"), key));
        found.into_iter().map(|label| (label.owner, label.value)).collect::<Vec<_>>()
    };
    let own = |owner: &str, value: &str| (owner.to_owned(), value.to_owned());
    assert_eq!(below(None), [own("r1", "2"), own("r2", "3")]);
    assert_eq!(below(Some("b")), [own("r2", "3")]);
    assert_eq!(read(store, |view| view.mlflow_documents(MlflowKind::Run, Some("9"))).len(), 2);
    assert_eq!(read(store, |view| view.mlflow_documents(kind, None)).len(), 3);
    let drop = |key| store.write::<_, StoreError>(|writer| writer.drop_mlflow_label(tag, "r1", key)).unwrap();
    assert_eq!([drop("a"), drop("a")], [true, false]);
    store
        .write::<_, StoreError>(|writer| {
            assert!(writer.drop_mlflow_document(MlflowKind::Run, "r2")?);
            writer.drop_mlflow_labels("r2")
        })
        .unwrap();
    assert_eq!(read(store, |view| view.mlflow_label(MlflowLabelKind::Param, "r2", "b")), None);
}

pub(crate) fn metrics(store: &Store) {
    let values = [2.0, f64::NAN, f64::INFINITY, -0.5];
    store
        .write::<_, StoreError>(|writer| {
            writer.put_mlflow_document(MlflowKind::Run, &document("r1", "9", None))?;
            for (step, value) in [3, 1, 2, 0].into_iter().zip(values) {
                writer.put_mlflow_metric(&point("r1", step, value))?;
                writer.put_mlflow_metric(&point("r1", step, value))?;
            }
            Ok(())
        })
        .unwrap();
    let history = |offset, limit| {
        let found = read(store, |view| view.mlflow_metric_history(("r1", "loss"), offset, limit));
        found.into_iter().map(|metric| metric.point.value.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(history(0, 10), ["-0.5", "NaN", "inf", "2"]);
    assert_eq!(history(1, 2), ["NaN", "inf"]);
    let latest = read(store, |view| view.mlflow_latest_metrics("r1"));
    assert_eq!((latest.len(), latest[0].point.step, latest[0].point.value), (1, 3, 2.0));
    assert_eq!(read(store, |view| view.mlflow_metrics("r1", 3)).len(), 3);
    let below = read(store, |view| view.mlflow_latest_metrics_below((MlflowKind::Run, "9"), Some("loss")));
    assert_eq!(below.len(), 1);
    let none = read(store, |view| view.mlflow_latest_metrics_below((MlflowKind::Run, "9"), Some("other")));
    assert!(none.is_empty());
}

pub(crate) fn artifacts(store: &Store) {
    let digest = Digest::of(b"file");
    store
        .write::<_, StoreError>(|writer| {
            for path in ["1/a/x", "1/a/y", "1/a.txt", "1/ab/z", "2/a/x"] {
                writer.put_mlflow_artifact(&MlflowArtifact {
                    path: path.to_owned(),
                    digest,
                    size_bytes: 4,
                })?;
            }
            Ok(())
        })
        .unwrap();
    let listed = |folder: &str, after: &str| {
        let found = read(store, |view| view.mlflow_artifacts(folder, after));
        found.into_iter().map(|artifact| artifact.path).collect::<Vec<_>>()
    };
    assert_eq!(listed("1/", ""), ["1/a.txt", "1/a/x", "1/a/y", "1/ab/z"]);
    assert_eq!(listed("1/a/", "1/a/x"), ["1/a/y"]);
    assert_eq!(listed("", "").len(), 5);
    assert_eq!(read(store, |view| view.mlflow_artifact("1/a/x")).unwrap().size_bytes, 4);
    let drop = |path| store.write::<_, StoreError>(|writer| writer.drop_mlflow_artifacts(path)).unwrap();
    assert_eq!([drop("1/a"), drop("1/a.txt"), drop("none")], [2, 1, 0]);
    assert_eq!(listed("", ""), ["1/ab/z", "2/a/x"]);
}
