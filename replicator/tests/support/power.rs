//! File systems whose power can be cut: ext4 in a file, shut down by an ioctl that drops all that
//! was not synced.
//!
//! Whoever uses a disk runs in a mount namespace of its own, with the boot id of the machine's
//! latest boot (SQLite files know a boot by it), and without the disks of the other machines, which
//! it would otherwise hold.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Mounted, Nodes, skipped, succeeds};

/// Nothing that was not synced survives: EXT4_IOC_SHUTDOWN without a log flush, on all at once.
const CUT: &str = "import fcntl, os, struct, sys\n\
                   at = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]\n\
                   for one in at: fcntl.ioctl(one, 0x8004587d, struct.pack('I', 2))";

/// The commits of its journal are asked for and not made from time to time: a cut then takes
/// everything that nobody synced.
const OPTIONS: &str = "loop,commit=3600";

/// To be held by a test that cuts the power: the mount namespaces of another test's machines would
/// keep its dead disks mounted.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One machine's disk.
pub(crate) struct Disk {
    image: PathBuf,
    boot: PathBuf,
    mounted: Mounted,
}

impl Disk {
    /// A disk of so many megabytes at a node's directory; `None` if this machine has no such thing.
    pub(crate) fn new(nodes: &Nodes, name: &str, megabytes: u64) -> Option<Self> {
        let home = nodes.home.path();
        let image = home.join(format!("{name}.img"));
        let file = std::fs::File::create(&image).ok()?;
        file.set_len(megabytes << 20).ok()?;
        std::fs::create_dir(nodes.dir(name)).ok()?;
        let made = succeeds("mkfs.ext4", &["-q", "-F", image.to_str()?]);
        let disk = Self {
            image,
            boot: home.join(format!("{name}.boot")),
            mounted: Mounted(nodes.dir(name)),
        };
        disk.boot(0);
        if !(made && disk.mount()) {
            skipped("power cuts: no ext4 on a loop device here (not root?)");
            return None;
        }
        Some(disk)
    }

    fn at(&self) -> &str {
        self.mounted.0.to_str().unwrap()
    }

    fn mount(&self) -> bool {
        let image = self.image.to_str().unwrap();
        succeeds("mount", &["-o", OPTIONS, image, self.at()])
    }

    /// The first boot is that of the test itself, which makes the tables; later it only reads.
    fn boot(&self, number: usize) {
        let id = match number {
            0 => std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap(),
            number => format!("00000000-0000-4000-8000-{number:012}\n"),
        };
        std::fs::write(&self.boot, id).unwrap();
    }

    /// Everything up to now is on the disk.
    pub(crate) fn settle(&self) {
        assert!(succeeds("sync", &["-f", self.at()]));
    }

    /// Cuts the power of these, at once; false if this kernel cannot. What is said of a sync
    /// meanwhile is not to be believed.
    pub(crate) fn cut(disks: &[&Self]) -> bool {
        let mut args = vec!["-c", CUT];
        args.extend(disks.iter().map(|disk| disk.at()));
        let cut = succeeds("/usr/bin/python3", &args);
        if !cut {
            skipped("power cuts: this kernel has no EXT4_IOC_SHUTDOWN");
        }
        cut
    }

    /// The disk as the cut left it, for the machine's boot of this number. All that ran on it must
    /// have been killed.
    pub(crate) fn back(&self, boot: usize) {
        self.boot(boot);
        let until = Instant::now() + Duration::from_secs(60);
        // What was killed may hold it a moment longer; mounting it then would find the dead one.
        loop {
            let probe = Path::new(self.at()).join("probe");
            if succeeds("umount", &[self.at()])
                && self.mount()
                && std::fs::write(&probe, "alive").is_ok()
            {
                std::fs::remove_file(probe).unwrap();
                return;
            }
            assert!(Instant::now() < until, "the disk does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs nodes and applications from now on as said above; false if this machine cannot.
pub(crate) fn boots_of_their_own(nodes: &mut Nodes, machines: &[&str]) -> bool {
    let home = nodes.home.path();
    let script = format!(
        "for one in {}; do [ $one = {{node}} ] || umount -l {home}/$one; done\n\
         mount --bind {home}/{{node}}.boot /proc/sys/kernel/random/boot_id && exec \"$0\" \"$@\"",
        machines.join(" "),
        home = home.display()
    );
    let probe = script.replace("{node}", machines[0]);
    if !succeeds("unshare", &["-m", "sh", "-c", &probe, "true"]) {
        skipped("power cuts: no mount namespace here");
        return false;
    }
    nodes.under = ["unshare", "-m", "sh", "-c", &script]
        .map(str::to_owned)
        .to_vec();
    true
}
