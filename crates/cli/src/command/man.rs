//! `edgeward man`: a manual page per command, from the definitions in `args`.

use clap::CommandFactory as _;

use crate::args::{Cli, ManArgs};
use crate::output::{Explain, Outcome};

pub(crate) fn run(args: &ManArgs) -> Outcome {
    let doing = format!("writing manual pages to {}", args.dir.display());
    std::fs::create_dir_all(&args.dir).explain("file", &doing)?;
    let mut command = Cli::command();
    // Pages are named after the commands they are of.
    command.build();
    clap_mangen::generate_to(command, &args.dir).explain("file", &doing)
}
