//! Owners of sockets that nobody has used since the agent started: by looking through the file
//! tables of all processes.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use super::connection::Process;

/// Finds the process of each socket, by the inode of the socket's file. A socket that several
/// processes hold is left out: which of them uses it is not known.
pub(super) fn find(wanted: &HashSet<u64>) -> HashMap<u64, Process> {
    let mut found: HashMap<u64, Option<u32>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        for inode in sockets(&process.path()).intersection(wanted) {
            found
                .entry(*inode)
                .and_modify(|holder| *holder = None)
                .or_insert(Some(pid));
        }
    }
    found
        .into_iter()
        .filter_map(|(inode, pid)| Some((inode, process(pid?)?)))
        .collect()
}

/// Inodes of the sockets in a process's file table.
fn sockets(process: &Path) -> HashSet<u64> {
    fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|target| socket_inode(target.to_str()?))
        .collect()
}

fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn process(pid: u32) -> Option<Process> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let comm = comm.strip_suffix(b"\n").unwrap_or(&comm);
    Some(Process {
        pid,
        comm: String::from_utf8_lossy(comm).into(),
    })
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn links_to_sockets_are_told_from_others() {
        assert_eq!(socket_inode("socket:[123]"), Some(123));
        assert_eq!(socket_inode("pipe:[123]"), None);
        assert_eq!(socket_inode("socket:[]"), None);
    }

    #[test]
    fn this_process_holds_its_listener() {
        use std::os::fd::AsRawFd;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
        let inode = fs::metadata(path).expect("the listener").ino();
        let owners = find(&HashSet::from([inode, 1]));
        assert_eq!(owners.len(), 1);
        assert_eq!(owners[&inode].pid, std::process::id());
    }
}
