//! Socket files that a killed process left behind: memif and vhost refuse to start where one lies.
//!
//! Looked for before a port's device is probed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The path a vdev would listen on: memif's `socket=` and vhost's `iface=`. None for other devices.
fn listening_path(device: &str) -> Option<&str> {
    let (name, arguments) = device.split_once(',')?;
    let argument = |key: &str| {
        arguments.split(',').find_map(|argument| argument.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
    };
    if name.starts_with("net_memif") {
        let server = matches!(argument("role"), Some("server" | "master"));
        // memif sockets are abstract, without a file, unless told otherwise.
        let file = argument("socket-abstract") == Some("no");
        argument("socket").filter(|_| server && file)
    } else if name.starts_with("net_vhost") || name.starts_with("eth_vhost") {
        argument("iface").filter(|_| argument("client") != Some("1"))
    } else {
        None
    }
}

/// Removes the socket file that `device` would trip over, if nobody listens on it any more.
pub(super) fn remove_for(device: &str) {
    let Some(path) = listening_path(device).map(Path::new) else { return };
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    // A listener of another socket type answers with EPROTOTYPE: only a refusal means that there is none.
    let refused = || UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    if is_socket && refused() {
        match fs::remove_file(path) {
            Ok(()) => log::info!("removed {}, a socket that nobody listens on", path.display()),
            Err(error) => log::warn!("cannot remove {}, a socket that nobody listens on: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_devices_that_listen_have_a_path() {
        assert_eq!(listening_path("net_vhost0,iface=/run/v.sock,queues=2"), Some("/run/v.sock"));
        assert_eq!(listening_path("net_vhost0,iface=/run/v.sock,client=1"), None);
        assert_eq!(listening_path("net_memif0,role=server,socket-abstract=no,socket=/run/m"), Some("/run/m"));
        assert_eq!(listening_path("net_memif0,role=server,socket=/run/m"), None, "abstract");
        assert_eq!(listening_path("net_memif0,role=client,socket-abstract=no,socket=/run/m"), None);
        assert_eq!(listening_path("net_af_packet0,iface=veth0"), None);
        assert_eq!(listening_path("0000:3b:00.0"), None);
    }

    #[test]
    fn a_socket_is_removed_when_its_listener_is_gone_and_not_before() {
        let path = std::env::temp_dir().join(format!("carpool-stale-{}", std::process::id()));
        let device = format!("net_vhost0,iface={}", path.display());
        let listener = UnixListener::bind(&path).expect("the temporary directory is writable");
        remove_for(&device);
        assert!(path.exists(), "somebody listens");
        drop(listener);
        remove_for(&device);
        assert!(!path.exists(), "nobody listens");
        fs::write(&path, "not a socket").expect("the temporary directory is writable");
        remove_for(&device);
        assert!(path.exists(), "a file that is no socket is none of our business");
        fs::remove_file(&path).expect("it was just made");
    }
}
