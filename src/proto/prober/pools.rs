//! Names of which each address is a target of its own: how these targets come and go.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use crate::limits::{POOL_STEPS_PER_TURN_MAX, TARGETS_MAX};
use crate::proto::context::small;
use crate::proto::pool::{Pool, Step, tags_of};
use crate::proto::prober::Prober;
use crate::proto::target::{Address, TargetSpec};
use crate::proto::transmit::TargetId;
use crate::proto::wire::native::authenticated::Key;

/// All such names.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pools: Slab<Pool>,
    /// The places of those that have something to do. A place may be another pool's by then, which has nothing more.
    due: VecDeque<usize>,
}

impl Pools {
    /// True if targets wait to begin or to end.
    pub(super) fn are_due(&self) -> bool {
        !self.due.is_empty()
    }

    fn find(&self, id: TargetId) -> Option<usize> {
        let found = self.pools.iter().find(|(_, pool)| pool.id == id);
        found.map(|(slot, _)| slot)
    }
}

impl Prober {
    /// Looks a name up, of which each address is to be a target.
    pub(super) fn add_pool(&mut self, spec: TargetSpec) -> Option<TargetId> {
        if self.pools.pools.len() >= TARGETS_MAX {
            return None;
        }
        let (id, slot) = (self.next_id(), self.pools.pools.vacant_key());
        let (name, interval_ns) = (&self.name, self.resolve_interval_ns);
        let context = &mut self.context;
        let pool = Pool::new(small(slot), id, name, interval_ns, spec, context);
        self.pools.pools.insert(pool);
        Some(id)
    }

    /// Stops probing all addresses of a name.
    pub(super) fn remove_pool(&mut self, id: TargetId) -> bool {
        let Some(slot) = self.pools.find(id) else {
            return false;
        };
        let mut pool = self.pools.pools.remove(slot);
        pool.end(&mut self.context);
        for (_, target) in pool.members() {
            self.end(target);
        }
        true
    }

    pub(super) fn look_up_pool(&mut self, slot: u32) {
        if let Some(pool) = self.pools.pools.get_mut(slot as usize) {
            pool.handle_resolve_timer(&mut self.context);
        }
    }

    pub(super) fn handle_pool_resolved(&mut self, id: TargetId, addresses: &[Address]) {
        let Some(slot) = self.pools.find(id) else {
            return;
        };
        self.pools.pools[slot].handle_resolved(addresses, &mut self.context);
        self.pools.due.push_back(slot);
    }

    /// Begins and ends a bounded number of targets: hundreds may come with one answer, and the present ones must be
    /// probed meanwhile.
    pub(super) fn turn_pools(&mut self) {
        for _ in 0..POOL_STEPS_PER_TURN_MAX {
            let Some(slot) = self.pools.due.front().copied() else {
                return;
            };
            let pool = self.pools.pools.get_mut(slot);
            let Some((pool, step)) = pool.and_then(|pool| pool.poll().map(|step| (pool, step)))
            else {
                self.pools.due.pop_front();
                continue;
            };
            match step {
                Step::Begin(address) => {
                    let spec = pool.spec_of(address);
                    let begun = self.begin(spec, Some(address));
                    if let Some(pool) = self.pools.pools.get_mut(slot) {
                        pool.handle_begun(address, begun, &mut self.context);
                    }
                }
                Step::End(address) => {
                    if let Some(target) = pool.take(address) {
                        self.end(target);
                    }
                }
            }
        }
    }

    /// Gives all addresses of a name another key.
    pub(super) fn set_key_of_pool(&mut self, id: TargetId, key: &Arc<Key>) -> bool {
        let Some(slot) = self.pools.find(id) else {
            return false;
        };
        let pool = &mut self.pools.pools[slot];
        pool.handle_key(key);
        for (_, target) in pool.members() {
            if let Some(target) = self.targets.get_mut(target) {
                target.handle_key(key, &mut self.context);
            }
        }
        true
    }

    /// Calls all addresses of a name otherwise.
    pub(super) fn set_labels_of_pool(
        &mut self,
        id: TargetId,
        label: &str,
        tags: &[Box<str>],
    ) -> bool {
        let Some(slot) = self.pools.find(id) else {
            return false;
        };
        let pool = &mut self.pools.pools[slot];
        pool.handle_labels(label, tags);
        for (address, target) in pool.members() {
            if let Some(target) = self.targets.get_mut(target) {
                target.handle_labels(label, &tags_of(tags, address), &mut self.context);
            }
        }
        true
    }
}
