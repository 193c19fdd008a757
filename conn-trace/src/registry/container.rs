//! Container ids in cgroup paths.
//!
//! A runtime names the cgroup of a container after it; the forms known here:
//!
//! | runtime | cgroup |
//! |---|---|
//! | runc, crun with systemd (runc docs/systemd.md: `<prefix>-<name>.scope`) | `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope` |
//! | the same without systemd | `docker/<id>`, `kubepods/…/pod<uid>/<id>`, `libpod_parent/libpod-<id>`, `ecs/<task>/<id>` |
//! | containerd with a systemd path and no systemd | `<slice>:cri-containerd:<id>` |
//! | podman `--cgroups=split` | `libpod-payload-<id>` |
//! | Amazon ECS on Fargate | `ecs/<task>/<task>-<number>` |
//! | Garden | `garden/<handle>`, or a handle of five groups of digits |
//! | LXC (lxc.container.conf(5), `lxc.cgroup.dir`) | `lxc.payload.<name>`, `lxc.payload/<name>`, `lxc/<name>` |
//! | systemd-nspawn (systemd-machined) | `machine.slice/machine-<name>.scope`, `machine.slice/systemd-nspawn@<name>.service` |
//!
//! Ids are 64 hexadecimal digits where the table does not name them otherwise. The cgroup of a
//! program that only watches over a container (conmon, `lxc.monitor`, nspawn's `supervisor`) is not
//! in it, and neither is a virtual machine.

use std::borrow::Cow;

/// The id of the innermost container that a path leads into.
pub(super) fn id(cgroup: &str) -> Option<Cow<'_, str>> {
    let mut outwards = cgroup.rsplit('/').peekable();
    let mut inner = "";
    while let Some(name) = outwards.next() {
        let parent = outwards.peek().copied().unwrap_or_default();
        if let Some(id) = named(name, parent, inner) {
            return Some(id);
        }
        inner = name;
    }
    None
}

/// The container that a cgroup of this name is of, below `parent` and on the way to `inner`.
fn named<'a>(name: &'a str, parent: &str, inner: &str) -> Option<Cow<'a, str>> {
    if let Some(id) = by_digits(name) {
        return Some(Cow::Borrowed(id));
    }
    let is_name = !name.is_empty();
    match parent {
        "garden" | "lxc" | "lxc.payload" if is_name => return Some(Cow::Borrowed(name)),
        "machine.slice" if inner != "supervisor" => return machine(name),
        _ => {}
    }
    let payload = name.strip_prefix("lxc.payload.")?;
    (!payload.is_empty()).then_some(Cow::Borrowed(payload))
}

/// Ids that are known by their digits alone.
fn by_digits(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    if is_task_and_number(name) || has_groups(name, &[8, 4, 4, 4, 4]) {
        return Some(name);
    }
    let (prefix, id) = name.rsplit_once(['-', ':']).unwrap_or(("", name));
    (is_hex(id, 64) && !prefix.ends_with("conmon")).then_some(id)
}

/// `<32 hexadecimal digits>-<number>`
fn is_task_and_number(name: &str) -> bool {
    name.split_once('-').is_some_and(|(task, number)| {
        is_hex(task, 32) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn has_groups(name: &str, lengths: &[usize]) -> bool {
    name.split('-').count() == lengths.len()
        && name
            .split('-')
            .zip(lengths)
            .all(|(group, &length)| is_hex(group, length))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The machine in the name of a systemd unit.
fn machine(unit: &str) -> Option<Cow<'_, str>> {
    let escaped = unit
        .strip_prefix("machine-")
        .and_then(|name| name.strip_suffix(".scope"))
        .or_else(|| {
            unit.strip_prefix("systemd-nspawn@")
                .and_then(|name| name.strip_suffix(".service"))
        })?;
    let name = unescaped(escaped)?;
    // libvirt registers its virtual machines too.
    (!name.is_empty() && !name.starts_with("qemu-")).then_some(name)
}

/// As systemd-escape(1) escapes names: `\xHH` is a byte.
fn unescaped(name: &str) -> Option<Cow<'_, str>> {
    if !name.contains('\\') {
        return Some(Cow::Borrowed(name));
    }
    let mut parts = name.split("\\x");
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::id;

    const A: &str = "3f5c1b2e9a7d4c6f8e0b1a2d3c4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f";
    const B: &str = "00000000000000000000000000000000000000000000000000000000deadbeef";

    #[track_caller]
    fn assert_id(path: &str, expected: Option<&str>) {
        let path = path.replace("<A>", A).replace("<B>", B);
        let expected = expected.map(|id| id.replace("<A>", A).replace("<B>", B));
        assert_eq!(id(&path).as_deref(), expected.as_deref(), "{path}");
    }

    #[test]
    fn runtimes_with_ids_of_64_digits() {
        for path in [
            "/docker/<A>",
            "/docker/<A>/init",
            "/system.slice/docker-<A>.scope",
            "/kubepods/besteffort/pod2f3a1f0e-8c8e-4f4c-9a52-6d2f5f1f0c11/<A>",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f3a1f0e_8c8e_4f4c_9a52_6d2f5f1f0c11.slice/cri-containerd-<A>.scope",
            "/kubepods.slice/kubepods-pod2f3a1f0e_8c8e_4f4c_9a52_6d2f5f1f0c11.slice/crio-<A>.scope",
            "/kubepods.slice/kubepods-pod2f3a1f0e_8c8e_4f4c_9a52_6d2f5f1f0c11.slice/crio-<A>.scope/container",
            "/system.slice/containerd.service/kubepods-besteffort-pod2f3a1f0e.slice:cri-containerd:<A>",
            "/machine.slice/libpod-<A>.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<A>.scope",
            "/libpod_parent/libpod-<A>",
            "/system.slice/web.service/libpod-payload-<A>",
            "/ecs/0123456789abcdef0123456789abcdef/<A>",
            "/k8s.io/<A>",
            "/<A>",
        ] {
            assert_id(path, Some("<A>"));
        }
    }

    #[test]
    fn runtimes_with_other_names() {
        let task = "0123456789abcdef0123456789abcdef";
        let fargate = format!("{task}-1234567890");
        assert_id(&format!("/ecs/{task}/{fargate}"), Some(&fargate));
        let handle = "8c8e4f4c-9a52-6d2f-5f1f-0c11";
        assert_id(
            &format!("/system.slice/garden.service/garden/{handle}"),
            Some(handle),
        );
        assert_id(&format!("/{handle}"), Some(handle));
        assert_id("/garden/my-handle", Some("my-handle"));
        assert_id("/lxc.payload.web", Some("web"));
        assert_id(
            "/lxc.payload.web.1/system.slice/nginx.service",
            Some("web.1"),
        );
        assert_id("/lxc.payload/web", Some("web"));
        assert_id("/lxc/101/ns/init.scope", Some("101"));
        assert_id("/machine.slice/machine-deb.scope", Some("deb"));
        assert_id(
            r"/machine.slice/machine-my\x2dbox.scope/payload/init.scope",
            Some("my-box"),
        );
        assert_id(
            "/machine.slice/systemd-nspawn@deb.service/payload",
            Some("deb"),
        );
        assert_id(
            r"/machine.slice/machine-lxc\x2d12\x2dweb.scope",
            Some("lxc-12-web"),
        );
    }

    #[test]
    fn of_nested_ones_the_innermost() {
        assert_id("/docker/<A>/docker/<B>", Some("<B>"));
        assert_id(
            "/docker/<A>/kubelet.slice/kubelet-kubepods.slice/cri-containerd-<B>.scope",
            Some("<B>"),
        );
        assert_id("/docker/<A>/system.slice/containerd.service", Some("<A>"));
        assert_id(
            "/lxc.payload.outer/lxc.payload.inner/init.scope",
            Some("inner"),
        );
        assert_id(
            "/lxc.payload.outer/system.slice/docker-<B>.scope",
            Some("<B>"),
        );
        assert_id(
            "/machine.slice/machine-deb.scope/payload/docker/<B>",
            Some("<B>"),
        );
        // What watches over the inner one is in the outer one.
        assert_id(
            "/docker/<A>/machine.slice/libpod-conmon-<B>.scope",
            Some("<A>"),
        );
    }

    #[test]
    fn what_is_no_container() {
        for path in [
            "/",
            "",
            "//",
            "/init.scope",
            "/system.slice/docker.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/kubepods/besteffort/pod2f3a1f0e-8c8e-4f4c-9a52-6d2f5f1f0c11",
            "/kubepods.slice/kubepods-pod2f3a1f0e_8c8e_4f4c_9a52_6d2f5f1f0c11.slice",
            "/machine.slice/libpod-conmon-<A>.scope",
            "/machine.slice/crio-conmon-<A>.scope",
            "/lxc.monitor.web",
            "/lxc.monitor/web",
            "/lxc.pivot",
            "/lxc/",
            "/lxc.payload.",
            "/machine.slice",
            "/machine.slice/machine-.scope",
            "/machine.slice/machine-deb.scope/supervisor",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
            r"/machine.slice/machine-\x2.scope",
            r"/machine.slice/machine-\xff.scope",
            r"/machine.slice/machine-\xé.scope",
            "/machine-deb.scope",
            "/ecs/0123456789abcdef0123456789abcdef",
        ] {
            assert_id(path, None);
        }
    }

    #[test]
    fn ids_have_exactly_so_many_small_digits() {
        for broken in [
            A[1..].to_owned(),
            format!("{A}0"),
            A.to_uppercase(),
            A.replace('3', "g"),
            A.replace('3', "\u{fffd}"),
        ] {
            for form in ["/docker/", "/system.slice/docker-", "/x:y:"] {
                assert_id(&format!("{form}{broken}"), None);
                assert_id(&format!("{form}{broken}.scope"), None);
            }
        }
    }
}
