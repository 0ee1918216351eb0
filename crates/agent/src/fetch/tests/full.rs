//! A real disk that fills up while a bundle comes: a small file system in memory, in a name space of its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::durable::TwoCopies;
use crate::reserve::Reserve;

/// Stands in the working folder of the process that runs on the small disk.
const MARK: &str = "small-disk";
const NAME: &str = "fetch::tests::full::a_disk_that_fills_up_bricks_nothing";
/// More than bundles leave free, by little.
const DISK_BYTES: &str = "9500k";

/// Others write while the answer comes.
struct Crowded<'a> {
    source: &'a Memory,
    disk: PathBuf,
    opened: Cell<u32>,
}

impl BlobSource for Crowded<'_> {
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.opened.set(self.opened.get() + 1);
        if self.opened.get() == 2 {
            fill(&self.disk.join("others"));
        }
        self.source.open(digest, offset)
    }

    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.source.open_delta(result, source, offset)
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for piece in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![7; piece]).is_ok() {}
    }
}

fn inside(disk: &Path) {
    let bench = Bench::new();
    let slots = Slots::new(disk.join("models"));
    let reserve = Reserve::below(disk);
    reserve.restore(&OsDisk);
    let mut state = TwoCopies::begin(&disk.join("state")).unwrap();
    state.write(&[1; 20_000]).unwrap();
    let source = Crowded { source: &bench.source, disk: disk.to_owned(), opened: Cell::new(0) };
    let (cancelled, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let platform = device();
    let courtesy = Courtesy::default();
    let staging = Staging {
        source: &source,
        slots: &slots,
        platform: &platform,
        courtesy: &courtesy,
        cancelled: &cancelled,
        received: &received,
        beside: None,
    };
    let stage = || staging.stage(&model(), SlotId::A, &bench.release);
    let error = stage().err().unwrap();
    assert!(matches!(error.outcome(), StageOutcome::NoRoom(_)), "{error:?}");
    assert!(!slots.folder(&model(), SlotId::A).exists(), "what it took is given back");
    fill(&disk.join("more"));
    let refused = state.write(&[2; 40_000]).unwrap_err();
    assert!(refused.is_full(), "{refused:?}");
    assert_eq!(
        TwoCopies::open(&disk.join("state")).unwrap().1,
        Some(vec![1; 20_000]),
        "the older one stands"
    );
    reserve.release(&OsDisk).unwrap();
    state.write(&[2; 40_000]).unwrap();
    assert_eq!(TwoCopies::open(&disk.join("state")).unwrap().1, Some(vec![2; 40_000]));
    let error = stage().err().unwrap();
    assert!(error.to_string().contains("the disk leaves"), "{error}");
    fs::remove_file(disk.join("others")).unwrap();
    fs::remove_file(disk.join("more")).unwrap();
    stage().unwrap();
    reserve.restore(&OsDisk);
    assert!(disk.join("reserve").exists());
}

#[test]
fn a_disk_that_fills_up_bricks_nothing() {
    if Path::new(MARK).is_file() {
        return inside(&env::current_dir().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size="$2" tmpfs "$1" && cd "$1" && touch small-disk || exit 77; shift 2; exec "$@""#;
    let this = env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([folder.path().as_os_str(), DISK_BYTES.as_ref(), this.as_os_str()])
        .args(["--exact", NAME, "--nocapture"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("1 passed"), "{said}");
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        other => eprintln!("skipped: no file system may be mounted here: {other:?}"),
    }
}
