//! A network of namespaces joined by veth pairs, that leaves nothing behind.
//!
//! Names are unique per process and lab, so several run side by side. In each namespace an interface is named after
//! the neighbour at its other end: `A` has `server1`, `transit`; `transit` has `A` and `B`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ipnet::{Ipv4Net, Ipv6Net};
use nix::{
    fcntl::{Flock, FlockArg},
    unistd::Uid,
};

use crate::{
    error::{Doing, Error, Result},
    leftovers,
    namespace::{self, Namespace},
};

/// Lets one timing experiment run at a time on this machine: two at once would measure each other.
#[derive(Debug)]
pub struct Alone {
    _lock: Flock<fs::File>,
}

impl Alone {
    /// Waits for whoever is measuring now, in whatever process.
    pub fn wait() -> Result<Self> {
        require_root()?;
        fs::create_dir_all(leftovers::RUN_DIRECTORY).doing(format!("making {}", leftovers::RUN_DIRECTORY))?;
        let path = Path::new(leftovers::RUN_DIRECTORY).join("lock");
        let file = fs::File::create(&path).doing(format!("opening {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .doing(format!("locking {}", path.display()))?;
        Ok(Self { _lock: lock })
    }
}

/// What a namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An end system: Linux, no forwarding.
    Host,
    /// A router as everybody has them: Linux, forwarding.
    LinuxRouter,
    /// Home of a carpoold: its interfaces have no address, so that the kernel stays silent on them.
    Carpool,
}

/// One end of a link: whose, and with which address (a [`Kind::Carpool`] keeps it for its configuration).
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub node: &'a str,
    pub address: Ipv4Net,
}

#[derive(Debug)]
struct Node {
    name: String,
    kind: Kind,
    namespace: Namespace,
}

#[derive(Debug)]
pub struct Lab {
    prefix: String,
    directory: PathBuf,
    nodes: Vec<Node>,
    kept: bool,
}

impl Lab {
    pub fn new() -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self::with_prefix(leftovers::prefix(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A lab under a fixed name, for one that is meant to stay up; an earlier one of that name is removed.
    pub fn replacing(prefix: &str) -> Result<Self> {
        require_root()?;
        leftovers::remove_kept(prefix)?;
        Self::with_prefix(prefix.to_owned())
    }

    fn with_prefix(prefix: String) -> Result<Self> {
        require_root()?;
        leftovers::end_on_signals()?;
        leftovers::sweep()?;
        let directory = Path::new(leftovers::RUN_DIRECTORY).join(&prefix);
        fs::create_dir_all(&directory).doing(format!("making {}", directory.display()))?;
        leftovers::remember_directory(&directory.to_string_lossy());
        Ok(Self { prefix, directory, nodes: Vec::new(), kept: false })
    }

    /// Logs, configurations and sockets go here.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn add(&mut self, name: &str, kind: Kind) -> Result<()> {
        let full = format!("{}-{name}", self.prefix);
        let namespace = leftovers::make_namespace(&full, || Namespace::create(full.clone()))?;
        namespace.sysctl("ipv4/ip_forward", if kind == Kind::LinuxRouter { "1" } else { "0" })?;
        self.nodes.push(Node { name: name.to_owned(), kind, namespace });
        Ok(())
    }

    pub fn namespace(&self, name: &str) -> Result<&Namespace> {
        Ok(&self.node(name)?.namespace)
    }

    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        self.nodes.iter().map(|node| (node.name.as_str(), &node.namespace))
    }

    fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| Error::Malformed {
            what: "the lab's plan".to_owned(),
            why: format!("it has no node {name}"),
        })
    }

    /// Joins two nodes by a veth pair of this MTU (bytes of IP packet), addressed, up, without offloads: a veth with
    /// checksum offload carries packets whose checksums nobody has computed.
    pub fn link(&self, left: End<'_>, right: End<'_>, mtu: u16) -> Result<()> {
        let (left_node, right_node) = (self.node(left.node)?, self.node(right.node)?);
        left_node.namespace.ip(&[
            "link",
            "add",
            right.node,
            "type",
            "veth",
            "peer",
            "name",
            left.node,
            "netns",
            right_node.namespace.full_name(),
        ])?;
        for (node, interface, address) in
            [(left_node, right.node, left.address), (right_node, left.node, right.address)]
        {
            let mtu = mtu.to_string();
            node.namespace.ip(&["link", "set", interface, "mtu", &mtu, "up"])?;
            if node.kind != Kind::Carpool {
                node.namespace.ip(&["address", "add", &address.to_string(), "dev", interface])?;
            }
            namespace::run(node.namespace.command("ethtool").args([
                "-K", interface, "rx", "off", "tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off",
            ]))?;
        }
        Ok(())
    }

    /// Has a Linux node speak IPv6 on the link to a neighbour, by this address at once: nobody there could have it already.
    pub fn ipv6(&self, node: &str, neighbour: &str, address: Ipv6Net) -> Result<()> {
        let namespace = self.namespace(node)?;
        namespace.sysctl(&format!("ipv6/conf/{neighbour}/disable_ipv6"), "0")?;
        namespace.ip(&["address", "add", &address.to_string(), "dev", neighbour, "nodad"]).map(drop)
    }

    /// Gives a Linux node a route; a carpoold has its own in its configuration.
    pub fn route(&self, node: &str, prefix: &str, via: std::net::Ipv4Addr) -> Result<()> {
        self.namespace(node)?.ip(&["route", "add", prefix, "via", &via.to_string()]).map(drop)
    }

    /// Leaves namespaces, files and these processes up when the lab is dropped.
    pub(crate) fn keep(&mut self, processes: &[u32]) {
        leftovers::keep(&self.prefix, processes);
        self.kept = true;
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            // A test fails: what its programs had to say goes with the report, for the files go now.
            for path in fs::read_dir(&self.directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.extension().is_some_and(|extension| extension == "log") {
                    eprintln!("{}:\n{}", path.display(), fs::read_to_string(&path).unwrap_or_default());
                }
            }
        }
        if !self.kept {
            leftovers::remove(&self.prefix);
        }
    }
}

fn require_root() -> Result<()> {
    if Uid::effective().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces_named(prefix: &str) -> Vec<String> {
        fs::read_dir(namespace::DIRECTORY)
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .filter(|name| name.starts_with(&format!("{prefix}-")))
                    .collect()
            })
            .unwrap_or_default()
    }

    #[test]
    fn a_lab_that_panics_leaves_no_namespace_and_no_file() {
        let (prefix, directory) = thread::spawn(|| {
            let mut lab = Lab::new().expect("a lab can be made (as root)");
            lab.add("left", Kind::Host).expect("a namespace");
            lab.add("right", Kind::Host).expect("a namespace");
            let named = (lab.prefix.clone(), lab.directory.clone());
            assert_eq!(namespaces_named(&named.0).len(), 2, "both are there while it lives");
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _lab = lab;
                panic!("on purpose");
            }));
            assert!(result.is_err());
            named
        })
        .join()
        .expect("the thread caught its panic");
        assert_eq!(namespaces_named(&prefix), Vec::<String>::new());
        assert!(!directory.exists());
    }
}
