//! Constants stored beside the model: moved inside, from within the model's folder only.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use edgeward_model::onnx::{GraphProto, MODEL_BYTES_MAX, ModelProto, NodeProto, TensorProto};

use super::ImportError;

/// Replaces every reference to another file, subgraphs and attributes included, by the bytes themselves.
pub(super) fn inline(graph: &mut GraphProto, folder: &Path) -> Result<(), ImportError> {
    let mut budget = MODEL_BYTES_MAX as u64;
    visit_mut(graph, &mut |tensor| {
        if tensor.is_external() {
            tensor.raw_data = Some(read(tensor, folder, &mut budget)?);
            tensor.data_location = 0;
            tensor.external_data.clear();
        }
        Ok(())
    })
}

/// An error if any constant is still in another file.
pub(super) fn refuse(model: &ModelProto) -> Result<(), ImportError> {
    match model.graph.as_ref().and_then(first_external) {
        Some(tensor) => Err(refusal(tensor, "import it by its path, or save it with the weights inside")),
        None => Ok(()),
    }
}

/// The first constant that stands in another file, subgraphs and attributes included.
fn first_external(graph: &GraphProto) -> Option<&TensorProto> {
    let mut attributes = graph.node.iter().flat_map(|node| &node.attribute);
    graph.initializer.iter().find(|tensor| tensor.is_external()).or_else(|| {
        attributes.find_map(|attribute| {
            let external = attribute.t.iter().chain(&attribute.tensors).find(|tensor| tensor.is_external());
            external.or_else(|| attribute.g.iter().chain(&attribute.graphs).find_map(first_external))
        })
    })
}

fn visit_mut(
    graph: &mut GraphProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    let attributes = graph.node.iter_mut().flat_map(|node: &mut NodeProto| &mut node.attribute);
    for attribute in attributes {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
        for subgraph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            visit_mut(subgraph, visit)?;
        }
    }
    Ok(())
}

fn refusal(tensor: &TensorProto, reason: impl Into<String>) -> ImportError {
    ImportError::External { constant: tensor.name.clone(), reason: reason.into() }
}

fn read(tensor: &TensorProto, folder: &Path, budget: &mut u64) -> Result<Vec<u8>, ImportError> {
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let number = |key: &str| {
        let parse = |text: &String| {
            text.parse::<u64>().map_err(|_| refusal(tensor, format!("its {key} is '{text}'")))
        };
        entry(key).map(parse).transpose()
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let path = contained(tensor, entry("location").map_or("", String::as_str), folder)?;
    let io = |source| ImportError::Read { path: path.clone(), source };
    let mut file = File::open(&path).map_err(io)?;
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let wanted = length.unwrap_or(*budget);
    if wanted > *budget {
        return Err(refusal(tensor, format!("the model would be over the limit of {MODEL_BYTES_MAX} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(wanted).read_to_end(&mut bytes).map_err(io)?;
    if length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(refusal(
            tensor,
            format!("{} has only {} of its {wanted} bytes", path.display(), bytes.len()),
        ));
    }
    *budget -= bytes.len() as u64;
    Ok(bytes)
}

/// The real path of `location`, which must not leave `folder`, by dots or by links.
fn contained(tensor: &TensorProto, location: &str, folder: &Path) -> Result<PathBuf, ImportError> {
    let plain = |component| matches!(component, Component::Normal(_));
    if location.is_empty() || !Path::new(location).components().all(plain) {
        return Err(refusal(tensor, format!("'{location}' is not a plain path inside the model's folder")));
    }
    let real = |path: &Path| {
        path.canonicalize().map_err(|source| ImportError::Read { path: path.to_owned(), source })
    };
    let path = real(&folder.join(location))?;
    if !path.starts_with(real(folder)?) {
        return Err(refusal(tensor, format!("'{location}' leaves the model's folder")));
    }
    Ok(path)
}
