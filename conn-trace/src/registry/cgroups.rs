//! Paths of cgroups, and the containers in them, remembered by id.

use std::{collections::HashMap, sync::Arc};

use super::container;
use crate::kernel::cgroups::Cgroups;

/// Cgroups remembered; of those before, as many again. A host with more only looks them up anew.
const REMEMBERED: usize = 16_384;

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Path of its cgroup. Bytes that are not UTF-8 are replaced.
    pub(super) cgroup: Option<Arc<str>>,
    /// Id of the container that the path leads into.
    pub(super) container: Option<Arc<str>>,
}

/// Looks places up and remembers them.
#[derive(Debug)]
pub(super) struct Places {
    cgroups: Option<Cgroups>,
    lately: HashMap<u64, Place>,
    before: HashMap<u64, Place>,
}

impl Places {
    pub(super) fn of_hierarchy(cgroups: Option<Cgroups>) -> Self {
        Self {
            cgroups,
            lately: HashMap::new(),
            before: HashMap::new(),
        }
    }

    /// Keeps up with the cgroups that go.
    pub(super) fn note_removed(&mut self) {
        if let Some(cgroups) = &mut self.cgroups {
            cgroups.note_removed();
        }
    }

    /// The place that a cgroup id stands for. What is not known stays so: an id is met only after
    /// its cgroup was made, and never comes again.
    pub(super) fn of(&mut self, id: u64) -> Place {
        if let Some(place) = self.lately.get(&id) {
            return place.clone();
        }
        let place = self.before.remove(&id).unwrap_or_else(|| self.look_up(id));
        if place.cgroup.is_none() && self.may_be_found_later() {
            return place;
        }
        if self.lately.len() >= REMEMBERED {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(id, place.clone());
        place
    }

    /// Whether what is not known now may be later.
    pub(super) fn may_be_found_later(&self) -> bool {
        self.cgroups
            .as_ref()
            .is_some_and(|found| !found.is_certain())
    }

    /// The place of a process.
    pub(super) fn of_process(&mut self, pid: u32) -> Place {
        let id = self
            .cgroups
            .as_ref()
            .and_then(|found| found.of_process(pid));
        id.map(|id| self.of(id)).unwrap_or_default()
    }

    fn look_up(&mut self, id: u64) -> Place {
        let path = self.cgroups.as_mut().and_then(|found| match id {
            0 => None,
            id => found.path(id),
        });
        let Some(path) = path else {
            return Place::default();
        };
        let path = path.to_string_lossy();
        Place {
            container: container::id(&path).map(|id| id.into_owned().into()),
            cgroup: Some(path.as_ref().into()),
        }
    }
}
