//! Two network namespaces with a cable between them, whose far end can be made to fall silent.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use crate::{held::Held, netns::Namespace};

/// Two hosts with one interface each, `cable`.
#[derive(Debug)]
pub struct Link {
    /// One of them.
    pub near: Host,
    /// The other.
    pub far: Host,
}

/// One of two hosts.
#[derive(Debug)]
pub struct Host {
    /// Where its sockets are.
    pub namespace: Namespace,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its other address.
    pub address_v6: Ipv6Addr,
    /// Its address that is good on the cable only.
    pub link_local: Ipv6Addr,
    hardware: &'static str,
    /// Of the other one.
    peer: Ipv4Addr,
    peer_hardware: &'static str,
}

const NEAR: (Ipv4Addr, &str) = (Ipv4Addr::new(198, 18, 7, 1), "02:00:00:00:07:01");
const FAR: (Ipv4Addr, &str) = (Ipv4Addr::new(198, 18, 7, 2), "02:00:00:00:07:02");
/// Nobody's.
const NOWHERE: &str = "02:00:00:00:07:99";

impl Link {
    /// Makes them; `None` if the machine does not let us.
    #[must_use]
    pub fn new(purpose: &str) -> Option<Self> {
        let near = Host::new(&format!("{purpose}-near"), NEAR, FAR, 1)?;
        let far = Host::new(&format!("{purpose}-far"), FAR, NEAR, 2)?;
        let cable = format!(
            "link add cable address {} type veth peer name cable address {} netns {}",
            near.hardware,
            far.hardware,
            far.namespace.name()
        );
        (near.ip(&cable) && near.connect_cable() && far.connect_cable())
            .then_some(Self { near, far })
    }

    /// A connection from the near to the far host: both ends.
    #[must_use]
    pub fn pair(&self) -> (Held, Held) {
        let listener = self.listen();
        self.pair_by(&listener)
    }

    /// A listener on the far host.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn listen(&self) -> TcpListener {
        let address = (self.far.address, 0);
        self.far
            .namespace
            .inside(|| TcpListener::bind(address).expect("a listener"))
    }

    /// A connection to a listener on the far host: both ends.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn pair_by(&self, listener: &TcpListener) -> (Held, Held) {
        let address = listener.local_addr().expect("an address");
        let client = self.near.namespace.inside(|| Held::connect(address));
        let (server, _) = listener.accept().expect("a connection");
        (client, Held::of(server.into()))
    }

    /// From now on nothing arrives, and nobody is told.
    pub fn cut(&self) {
        self.near.send_nowhere();
        self.far.send_nowhere();
    }

    /// Undoes it.
    pub fn mend(&self) {
        self.near.send_to_peer();
        self.far.send_to_peer();
    }
}

impl Host {
    fn new(
        name: &str,
        (address, hardware): (Ipv4Addr, &'static str),
        (peer, peer_hardware): (Ipv4Addr, &'static str),
        last: u16,
    ) -> Option<Self> {
        Some(Self {
            namespace: Namespace::new(name)?,
            address,
            address_v6: Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, last),
            link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 7, last),
            hardware,
            peer,
            peer_hardware,
        })
    }

    /// Runs `ip` inside; whether that went well.
    #[must_use]
    pub fn ip(&self, arguments: &str) -> bool {
        let arguments: Vec<_> = arguments.split(' ').collect();
        self.namespace.run("ip", &arguments)
    }

    /// Runs `tc` inside; whether that went well.
    #[must_use]
    pub fn tc(&self, arguments: &str) -> bool {
        let arguments: Vec<_> = arguments.split(' ').collect();
        self.namespace.run("tc", &arguments)
    }

    fn connect_cable(&self) -> bool {
        self.ip(&format!("addr add {}/24 dev cable", self.address))
            && self.ip(&format!("addr add {}/64 dev cable nodad", self.address_v6))
            && self.ip(&format!("addr add {}/64 dev cable nodad", self.link_local))
            && self.ip("link set cable up")
            && self.neighbour(self.peer_hardware)
    }

    /// What it sends to the other host is lost.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn send_nowhere(&self) {
        assert!(self.neighbour(NOWHERE), "a neighbour");
    }

    /// Undoes it.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn send_to_peer(&self) {
        assert!(self.neighbour(self.peer_hardware), "a neighbour");
    }

    fn neighbour(&self, hardware: &str) -> bool {
        let peer = self.peer;
        self.ip(&format!(
            "neigh replace {peer} lladdr {hardware} dev cable nud permanent"
        ))
    }
}
