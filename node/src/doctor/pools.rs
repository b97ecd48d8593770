//! What memory a node sets aside at its start, whatever load comes.

use comfy_table::{Table, presets};
use ringmain_runtime::admission::shard_bytes;
use ringmain_runtime::log_writer::{LINE_BYTES_MAX, LINE_COUNT_MAX};
use ringmain_runtime::metrics::{BUCKET_COUNT, Counter, Gauge, Timing};
use ringmain_runtime::settings::Settings;
use ringmain_runtime::sys::usable_memory;

use super::checks::bytes_text;

/// One row per pool: name, how many of what size, the sum.
pub(super) fn table(shards: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let cells = Counter::ALL.len() + Gauge::ALL.len() + Timing::ALL.len() * (BUCKET_COUNT + 2);
    for (name, count, each) in
        [("log lines", LINE_COUNT_MAX, LINE_BYTES_MAX), ("metrics", shards, cells * 8)]
    {
        let parts = format!("{count} × {}", bytes_text(each as u64));
        table.add_row([name, &parts, &bytes_text((count * each) as u64)]);
    }
    let each = shard_bytes(usable_memory(), shards as u16);
    let parts = format!("{shards} × {}", bytes_text(each as u64));
    let most = format!("at most {}", bytes_text((shards * each) as u64));
    table.add_row(["buffers", &parts, &most]);
    let connections = Settings::default().max_connections.to_string();
    table.add_row(["connections", &connections, "as they come"]);
    table
}
