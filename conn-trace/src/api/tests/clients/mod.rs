//! What clients of NATS's and WuKongIM's monitoring need, one file for each of them. The tests ask
//! what that client asks, and read the answers as it does.

mod datadog;
mod exporter;
mod go;
mod metricbeat;
mod nats_dashboard;
mod nats_top;
mod netdata;
mod telegraf;
mod wkcli;

/// Where clients may be pointed to, of those that say how many rows they want.
const BASES: [&str; 2] = ["", "/nats"];
