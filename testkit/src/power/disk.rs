//! A disk that forgets what was not synchronised, in any order and in any part.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeward_agent::disk::Disk;
use edgeward_agent::durable::Access;
use edgeward_model::delta::Seekable;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Content that may or may not have reached the disk, or in part.
type Bytes = Arc<Vec<u8>>;

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inside: Arc<Mutex<Inside>>,
}

/// Which calls a disk answers without doing anything, to see that they are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// None.
    Honest,
    /// Those that make contents durable.
    Files,
    /// Those that make names durable.
    Folders,
}

#[derive(Debug)]
struct Inside {
    lie: Lie,
    nodes: Vec<Arc<Node>>,
    said: Said,
    moments: Option<Vec<Moment>>,
    /// Most bytes of all files together; none is no limit.
    bytes_max: Option<usize>,
}

/// What whoever wrote it was told is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Number of the newest state.
    pub state: u64,
    /// Number of the newest record that waits for upload.
    pub spooled: u64,
    /// Number of the newest record that was uploaded.
    pub uploaded: u64,
}

/// The disk as it was after one operation.
#[derive(Clone, Debug)]
pub struct Moment {
    nodes: Vec<Arc<Node>>,
    /// What had been said to be kept.
    pub said: Said,
}

#[derive(Clone, Debug)]
enum Node {
    File {
        now: Bytes,
        durable: Bytes,
        since: Vec<Bytes>,
    },
    Folder {
        now: BTreeMap<String, usize>,
        durable: BTreeMap<String, usize>,
        since: Vec<(String, Option<usize>)>,
    },
}

impl Node {
    const fn folder() -> Self {
        Self::Folder { now: BTreeMap::new(), durable: BTreeMap::new(), since: Vec::new() }
    }

    fn file() -> Self {
        Self::File { now: Bytes::default(), durable: Bytes::default(), since: Vec::new() }
    }
}

impl SimDisk {
    /// An empty disk that keeps every moment.
    #[must_use]
    pub fn recording(lie: Lie) -> Self {
        Self::of(vec![Arc::new(Node::folder())], Some(Vec::new()), lie)
    }

    fn of(nodes: Vec<Arc<Node>>, moments: Option<Vec<Moment>>, lie: Lie) -> Self {
        Self {
            inside: Arc::new(Mutex::new(Inside {
                lie,
                nodes,
                said: Said::default(),
                moments,
                bytes_max: None,
            })),
        }
    }

    /// Notes what is now said to be kept.
    pub fn say(&self, note: impl FnOnce(&mut Said)) {
        note(&mut self.lock().said);
    }

    /// Lets all files together hold so many bytes more than they do now; none lifts the limit.
    pub fn leave_room(&self, bytes: Option<usize>) {
        let mut inside = self.lock();
        inside.bytes_max = bytes.map(|bytes| inside.used() + bytes);
    }

    /// The moments so far.
    #[must_use]
    pub fn take_moments(&self) -> Vec<Moment> {
        self.lock().moments.take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something and keeps the moment after it.
    fn act<T>(&self, act: impl FnOnce(&mut Inside) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.lock();
        let outcome = act(&mut inside);
        let moment = Moment { nodes: inside.nodes.clone(), said: inside.said };
        inside.moments.iter_mut().for_each(|moments| moments.push(moment.clone()));
        outcome
    }
}

impl Moment {
    /// The disk after the power failed here: of what was not synchronised, anything may be there.
    #[must_use]
    pub fn crash(&self, rng: &mut ChaCha8Rng) -> SimDisk {
        SimDisk::of(self.nodes.iter().map(|node| survived(node, rng)).collect(), None, Lie::Honest)
    }
}

fn survived(node: &Arc<Node>, rng: &mut ChaCha8Rng) -> Arc<Node> {
    match &**node {
        Node::File { since, .. } if since.is_empty() => Arc::clone(node),
        Node::Folder { since, .. } if since.is_empty() => Arc::clone(node),
        Node::File { durable, since, .. } => {
            let kept = torn(durable, since, rng);
            Arc::new(Node::File { now: Arc::clone(&kept), durable: kept, since: Vec::new() })
        }
        Node::Folder { durable, since, .. } => {
            let mut kept = durable.clone();
            let mut names: Vec<&String> = since.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            for name in names {
                // Changes of one name come in order, those of different names in any.
                let changes: Vec<_> = since.iter().filter(|(of, _)| of == name).map(|(_, to)| *to).collect();
                match rng.random_range(0..=changes.len()).checked_sub(1).map(|last| changes[last]) {
                    Some(Some(node)) => drop(kept.insert(name.clone(), node)),
                    Some(None) => drop(kept.remove(name)),
                    None => {}
                }
            }
            Arc::new(Node::Folder { now: kept.clone(), durable: kept, since: Vec::new() })
        }
    }
}

/// One of the contents since the last sync, whole, cut short, or with a part of the old one or zeros in its place.
fn torn(durable: &Bytes, since: &[Bytes], rng: &mut ChaCha8Rng) -> Bytes {
    let Some(new) = rng.random_range(0..=since.len()).checked_sub(1).map(|last| &since[last]) else {
        return Arc::clone(durable);
    };
    // Appending leaves what is durable before it as it is.
    let appended = since.iter().all(|content| content.starts_with(durable));
    let at = rng.random_range(if appended { durable.len() } else { 0 }..=new.len());
    match rng.random_range(0..4_u32) {
        0 => Arc::clone(new),
        1 => Arc::new(new[..at].to_vec()),
        2 => Arc::new(new[..at].iter().copied().chain(std::iter::repeat_n(0, new.len() - at)).collect()),
        _ => Arc::new(new[..at].iter().chain(durable.iter().skip(at)).copied().collect()),
    }
}

impl Inside {
    /// Bytes of all files that have a name.
    fn used(&self) -> usize {
        self.used_below(0)
    }

    fn used_below(&self, at: usize) -> usize {
        match &*self.nodes[at] {
            Node::File { now, .. } => now.len(),
            Node::Folder { now, .. } => now.values().map(|node| self.used_below(*node)).sum(),
        }
    }

    /// Gives a file the bytes that fit onto the disk, after the first `keep` of those it has.
    fn fill(&mut self, node: usize, keep: usize, bytes: &[u8]) -> io::Result<usize> {
        let Node::File { now, .. } = &*self.nodes[node] else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let keep = keep.min(now.len());
        let kept = now[..keep].to_vec();
        let others = self.bytes_max.map(|_| self.used() - now.len());
        let room = self
            .bytes_max
            .zip(others)
            .map_or(usize::MAX, |(most, others)| most.saturating_sub(others + keep));
        let fits = room.min(bytes.len());
        if let Node::File { now, since, .. } = Arc::make_mut(&mut self.nodes[node]) {
            if keep < now.len() {
                since.push(Arc::new(kept.clone()));
            }
            *now = Arc::new([&kept, &bytes[..fits]].concat());
            since.push(Arc::clone(now));
        }
        if fits == 0 && !bytes.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(fits) }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.iter().try_fold(0, |at, name| match &*self.nodes[at] {
            Node::Folder { now, .. } if name == "/" => Some(at).filter(|_| now.len() < usize::MAX),
            Node::Folder { now, .. } => now.get(name.to_str()?).copied(),
            Node::File { .. } => None,
        })
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().and_then(|parent| self.find(parent)).ok_or(io::ErrorKind::NotFound)?;
        Ok((parent, name.to_owned()))
    }

    /// Gives a name to a node, or takes it away.
    fn name(&mut self, folder: usize, name: String, node: Option<usize>) {
        if let Node::Folder { now, since, .. } = Arc::make_mut(&mut self.nodes[folder]) {
            match node {
                Some(node) => drop(now.insert(name.clone(), node)),
                None => drop(now.remove(&name)),
            }
            since.push((name, node));
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let (parent, name) = self.parent(path)?;
        self.nodes.push(Arc::new(node));
        let added = self.nodes.len() - 1;
        self.name(parent, name, Some(added));
        Ok(added)
    }

    /// Takes every name below a folder away, one by one.
    fn empty(&mut self, folder: usize) {
        let Node::Folder { now, .. } = &*self.nodes[folder] else { return };
        for (name, node) in now.clone() {
            self.empty(node);
            self.name(folder, name, None);
        }
    }
}

/// A file that is being written to its end.
struct Appended {
    disk: SimDisk,
    node: usize,
}

impl Write for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.act(|inside| inside.fill(self.node, usize::MAX, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for SimDisk {
    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        let inside = self.lock();
        Ok(inside.find(path).and_then(|node| match &*inside.nodes[node] {
            Node::File { now, .. } => Some(now.len() as u64),
            Node::Folder { .. } => None,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable + Send>>> {
        let bytes = self.read(path, u64::MAX)?;
        Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Seekable + Send>))
    }

    fn append(&self, path: &Path, keep: u64) -> io::Result<Box<dyn Write + Send>> {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let node = self.act(|inside| {
            let node = match inside.find(path) {
                Some(node) => node,
                None => inside.add(path, Node::file())?,
            };
            inside.fill(node, keep, &[])?;
            Ok(node)
        })?;
        Ok(Box::new(Appended { disk: self.clone(), node }))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let inside = self.lock();
        match inside.find(folder).map(|node| &*inside.nodes[node]) {
            Some(Node::Folder { now, .. }) => Ok(now.keys().cloned().collect()),
            Some(Node::File { .. }) => Err(io::ErrorKind::NotADirectory.into()),
            None => Ok(Vec::new()),
        }
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        // A disk that does not tell fills up in the middle of a write.
        None
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let inside = self.lock();
        match inside.find(path).map(|node| &*inside.nodes[node]) {
            Some(Node::File { now, .. }) if now.len() as u64 > bytes_max => {
                Err(io::ErrorKind::FileTooLarge.into())
            }
            Some(Node::File { now, .. }) => Ok(Some(now.to_vec())),
            Some(Node::Folder { .. }) => Err(io::ErrorKind::IsADirectory.into()),
            None => Ok(None),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8], _: Access) -> io::Result<()> {
        self.act(|inside| {
            let node = match inside.find(path) {
                Some(node) => node,
                None => inside.add(path, Node::file())?,
            };
            match inside.fill(node, 0, bytes)? {
                written if written < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.act(|inside| {
            let node = inside.find(path).ok_or(io::ErrorKind::NotFound)?;
            let honest = inside.lie != Lie::Files;
            if let Node::File { now, durable, since } = Arc::make_mut(&mut inside.nodes[node])
                && honest
            {
                *durable = Arc::clone(now);
                since.clear();
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|inside| {
            let node = inside.find(from).ok_or(io::ErrorKind::NotFound)?;
            let ((old, old_name), (new, new_name)) = (inside.parent(from)?, inside.parent(to)?);
            inside.name(new, new_name, Some(node));
            inside.name(old, old_name, None);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.act(|inside| {
            if inside.find(path).is_some() {
                let (parent, name) = inside.parent(path)?;
                inside.name(parent, name, None);
            }
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.act(|inside| {
            if let Some(folder) = inside.find(path) {
                inside.empty(folder);
                let (parent, name) = inside.parent(path)?;
                inside.name(parent, name, None);
            }
            Ok(())
        })
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.act(|inside| match inside.find(path) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => inside.add(path, Node::folder()).map(drop),
        })
    }

    fn is_folder(&self, path: &Path) -> bool {
        let inside = self.lock();
        inside.find(path).is_some_and(|node| matches!(&*inside.nodes[node], Node::Folder { .. }))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.act(|inside| {
            let node = inside.find(path).ok_or(io::ErrorKind::NotFound)?;
            let honest = inside.lie != Lie::Folders;
            if let Node::Folder { now, durable, since } = Arc::make_mut(&mut inside.nodes[node])
                && honest
            {
                durable.clone_from(now);
                since.clear();
            }
            Ok(())
        })
    }
}
