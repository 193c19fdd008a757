//! What clients of NATS's and WuKongIM's monitoring need, each a test that reads answers as that
//! client does. The address of the first part of a path is that of the dialect it is set up with.

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
