//! What is sent to Ray: the files that the command reads, the rows, and a script that runs it and hands back what it leaves.
//!
//! The same files give the same package, byte for byte, so that it is uploaded once. Jobs with the same package share the folder
//! Ray unpacks it in: the script works on a copy.

use std::fs;
use std::io::{self, Cursor, Write as _};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::outcome::{BEGIN, END, OUTPUT, OUTPUT_BYTES_MAX, SIGN};
use super::{JobError, RayError};
use crate::runner::{Input, Output, Task};

/// The command of the job.
pub(super) const ENTRY: &str = "sh .edgeward-task/run.sh";
/// The variable that holds the task's command.
pub(super) const COMMAND: &str = "EDGEWARD_TASK_COMMAND";
/// The variable that holds the mark of the job's own words.
pub(super) const MARK: &str = "EDGEWARD_TASK_MARK";
const FOLDER: &str = ".edgeward-task";

/// The package of a task; what it is given is written to `scratch` on the way.
pub(super) fn of(task: &Task<'_>, shared: Option<&Path>, scratch: &Path) -> Result<Vec<u8>, JobError> {
    Ok(pack(task, shared, scratch).map_err(|error| Box::new(RayError::Pack(error)))?)
}

fn pack(task: &Task<'_>, shared: Option<&Path>, scratch: &Path) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut programs = String::new();
    for name in task.files {
        let mut file = fs::File::open(task.dir.join(name))?;
        if is_program(&file)? {
            programs.push_str(name);
            programs.push('\n');
        }
        zip.start_file(name.as_str(), options())?;
        io::copy(&mut file, &mut zip)?;
    }
    for input in task.inputs {
        let path = scratch.join(input.name);
        (input.write)(&path)?;
        zip.start_file(format!("{FOLDER}/in/{}", input.name), options())?;
        io::copy(&mut fs::File::open(&path)?, &mut zip)?;
        fs::remove_file(&path)?;
    }
    zip.start_file(format!("{FOLDER}/programs"), options())?;
    zip.write_all(programs.as_bytes())?;
    zip.start_file(format!("{FOLDER}/run.sh"), options())?;
    zip.write_all(script(task.inputs, task.outputs, shared).as_bytes())?;
    Ok(zip.finish()?.into_inner())
}

/// Without the time of day, so that the same files give the same bytes.
fn options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .large_file(false)
}

#[cfg(unix)]
fn is_program(file: &fs::File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o100 != 0)
}

#[cfg(not(unix))]
fn is_program(_: &fs::File) -> io::Result<bool> {
    Ok(false)
}

/// Runs the command on a copy of the package and hands back what it leaves.
fn script(inputs: &[Input<'_>], outputs: &[Output<'_>], shared: Option<&Path>) -> String {
    let mut variables = String::new();
    for input in inputs {
        variables += &format!("export {}=\"$here/project/{FOLDER}/in/{}\"\n", input.variable, input.name);
    }
    for output in outputs {
        variables += &format!("export {}=\"$here/out/{}\"\n", output.variable, output.name);
    }
    let hand_back = match shared {
        Some(shared) => to_shared(shared),
        None => outputs.iter().map(|output| to_log(output.name)).collect(),
    };
    format!(
        r#"here=$(mktemp -d "${{TMPDIR:-/tmp}}/edgeward-XXXXXX") || exit 121
trap 'rm -rf "$here"' EXIT
trap 'exit 143' TERM
mkdir "$here/out" && cp -R . "$here/project" && cd "$here/project" || exit 121
while read -r program; do chmod u+x "$program"; done < {FOLDER}/programs
{variables}echo "{SIGN}${MARK} {BEGIN}"
sh -c "${COMMAND}" < /dev/null
code=$?
[ "$code" -eq 0 ] || exit "$code"
{hand_back}echo
echo "{SIGN}${MARK} {END}"
"#
    )
}

/// The log is the one way back that every cluster has.
fn to_log(name: &str) -> String {
    format!(
        r#"file="$here/out/{name}"
if [ -f "$file" ]; then
  size=$(($(wc -c < "$file")))
  if [ "$size" -gt {OUTPUT_BYTES_MAX} ]; then
    echo "{name} has $size bytes, more than the {OUTPUT_BYTES_MAX} that come back by way of Ray's log: set [runner] shared" >&2
    exit 120
  fi
  hash=$(sha256sum < "$file") || exit 120
  echo
  echo "{SIGN}${MARK} {OUTPUT} {name} ${{hash%% *}}"
  base64 "$file" || exit 120
fi
"#
    )
}

/// The folder appears whole, or not at all.
fn to_shared(shared: &Path) -> String {
    let target = shared.display().to_string().replace('\'', "'\\''");
    format!(
        r#"target='{target}'
rm -rf "$target" "$target.new" && mkdir -p "$target.new" && cp -R "$here/out/." "$target.new/" && mv "$target.new" "$target" || {{
  echo "[runner] shared: this node cannot write $target" >&2
  exit 120
}}
"#
    )
}
