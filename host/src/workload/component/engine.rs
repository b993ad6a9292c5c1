//! The engine that all shards share: its configuration, its pools, its epoch.
//!
//! The pooling allocator reserves address space for as many instances as the plan may have VUs, so
//! that taking and returning one is cheap and the worst case is known before the run. Epochs cost the
//! guest one load and compare per loop; a ticker moves them every millisecond, so that no guest keeps
//! a shard for longer than that without yielding.

use std::sync::mpsc;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::{plan::Limits, workload::slice::SLICE};

/// Maps that the kernel needs for one instance: memory, its guard, table, stack, its guard, image. Measured
/// of Rust and Python 6, of JavaScript with its three memories 5: stubs' memories lie untouched.
const MAPS_PER_INSTANCE: u64 = 6;

/// Maps of the rest of the process.
const MAPS_OF_THE_HOST: u64 = 2_000;

/// Core modules of one component: the plugin, its shims, adapters. Python's is linked of forty.
const CORE_INSTANCES: u32 = 64;

/// Memories of one component: its own, and those of the stubs which JavaScript has in place of WASI. What
/// an instance may have is their sum, whatever their number ([`super::host::Ceiling`]).
const MEMORIES: u32 = 3;

/// Tables of one component.
const TABLES: u32 = 4;

/// What the pools are made for: instances in the process at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity(pub(super) u32);

/// An engine whose epoch moves while it lives.
pub(super) struct Ticking {
    engine: Engine,
    /// Dropped with the engine's last owner: the ticker ends.
    _stop: mpsc::Sender<()>,
}

impl Ticking {
    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// An engine for this many instances, with its ticker.
pub(super) fn start(limits: &Limits, capacity: Capacity) -> Result<Ticking, String> {
    let engine = Engine::new(&configure(limits, capacity)).map_err(|error| format!("{error:#}"))?;
    let (stop, stopped) = mpsc::channel::<()>();
    let ticked = engine.weak();
    std::thread::Builder::new()
        .name("wavetank-epoch".to_owned())
        .spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(SLICE) {
                let Some(engine) = ticked.upgrade() else { return };
                engine.increment_epoch();
            }
        })
        .map_err(|error| format!("no thread for the epoch: {error}"))?;
    Ok(Ticking { engine, _stop: stop })
}

fn configure(limits: &Limits, capacity: Capacity) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    let Capacity(instances) = capacity;
    let cores = instances.saturating_mul(CORE_INSTANCES);
    pool.total_component_instances(instances)
        .total_core_instances(cores)
        .total_memories(instances.saturating_mul(MEMORIES))
        .total_tables(instances.saturating_mul(TABLES))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memory_size(usize::try_from(limits.guest_memory).unwrap_or(usize::MAX))
        .table_elements(usize::try_from(limits.guest_table).unwrap_or(usize::MAX))
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .linear_memory_keep_resident(0)
        .max_unused_warm_slots(64);
    let stack = usize::try_from(limits.guest_stack).unwrap_or(usize::MAX);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(limits.guest_memory)
        .memory_guard_size(64 << 10)
        .memory_may_move(false)
        .guard_before_linear_memory(false)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(stack)
        // Host functions run on the guest's stack, below it.
        .async_stack_size(stack + (512 << 10))
        .wasm_memory64(false)
        // What joins the components within one component copies from one memory to another.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    config
}

/// Instances beside the virtual users: one for `setup` and `teardown`, one to describe.
const OTHERS: u32 = 2;

/// Pools for so many virtual users, if the kernel lets a process have so many maps. With fewer, the run
/// says so when it needs more.
pub(super) fn capacity(vus: u32) -> Capacity {
    Capacity(vus.saturating_add(OTHERS).min(fitting(max_map_count())))
}

/// How many virtual users find room in this process.
pub(super) fn room() -> u32 {
    fitting(max_map_count()).saturating_sub(OTHERS).max(1)
}

fn fitting(maps: Option<u64>) -> u32 {
    let Some(maps) = maps else { return u32::MAX };
    let instances = maps.saturating_sub(MAPS_OF_THE_HOST) / MAPS_PER_INSTANCE;
    u32::try_from(instances).unwrap_or(u32::MAX).max(1)
}

/// `vm.max_map_count`, where there is such a thing.
pub(super) fn max_map_count() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// What to say when there is no room for another instance.
pub(super) fn no_room(capacity: Capacity, why: &str) -> String {
    let Capacity(instances) = capacity;
    match max_map_count() {
        Some(maps) if fitting(Some(maps)) <= instances => format!(
            "no room for another instance: this process may hold {instances} of them, because \
             `vm.max_map_count` is {maps} and each needs {MAPS_PER_INSTANCE} maps; raise it \
             (`sysctl vm.max_map_count=262144`) or use fewer VUs ({why})"
        ),
        _ => format!(
            "no room for another instance: the run's limit is {instances}; raise it with \
             `--limit vus=N` or use fewer VUs ({why})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_maps_of_the_kernel_bound_the_instances() {
        assert_eq!(fitting(Some(65_530)), 10_588);
        assert_eq!(fitting(Some(10)), 1);
        assert_eq!(fitting(None), u32::MAX);
        assert_eq!(capacity(3).0, 5);
    }

    #[test]
    fn an_engine_ticks_and_its_ticker_ends_with_it() {
        let ticking = start(&Limits::default(), capacity(2)).unwrap();
        let weak = ticking.engine().weak();
        drop(ticking);
        let end = std::time::SystemTime::now() + Duration::from_secs(10);
        while weak.upgrade().is_some() && std::time::SystemTime::now() < end {
            std::thread::yield_now();
        }
        assert!(weak.upgrade().is_none());
    }
}
