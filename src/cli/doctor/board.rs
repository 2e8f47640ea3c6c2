//! The board: memory, temperature, supply voltage, as far as the kernel tells.

use std::fs;
use std::path::Path;

use super::finding::{Finding, kernel_text, size};

/// Memory that should be left, for a catch-up that unpacks a long page and for others.
const MEMORY_FLOOR: u64 = 64 << 20;
/// Below this the kernel ends a process soon, most likely the largest.
const MEMORY_END: u64 = 16 << 20;
/// Thousandths of a degree Celsius from which a board slows itself down: 80 on a Raspberry Pi.
const HOT: i64 = 80_000;

/// What the board tells of itself; `sys` and `proc` are where the kernel has mounted them.
pub(super) fn look(sys: &Path, proc: &Path) -> Vec<Finding> {
    let meminfo = fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
    vec![memory(&meminfo), temperature(hottest(sys)), power(undervoltage(sys))]
}

fn memory(meminfo: &str) -> Finding {
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    };
    let Some((available, total)) = bytes("MemAvailable:").zip(bytes("MemTotal:")) else {
        return Finding::skipped("memory", "the kernel does not tell");
    };
    let says = format!("{} of {} available", size(available), size(total));
    let to_do = "stop what takes it: ps -eo rss,args --sort=-rss | head";
    match available {
        0..MEMORY_END => Finding::fail("memory", says, to_do),
        MEMORY_END..MEMORY_FLOOR => Finding::warn("memory", says, to_do),
        MEMORY_FLOOR.. => Finding::ok("memory", says),
    }
}

/// The highest temperature of any zone, in thousandths of a degree Celsius.
fn hottest(sys: &Path) -> Option<i64> {
    let zones = fs::read_dir(sys.join("class/thermal")).ok()?.filter_map(Result::ok);
    let is_zone = |name: &str| name.starts_with("thermal_zone");
    zones
        .filter(|zone| zone.file_name().to_str().is_some_and(is_zone))
        .filter_map(|zone| kernel_text(&zone.path().join("temp"))?.parse().ok())
        .max()
}

fn temperature(hottest: Option<i64>) -> Finding {
    match hottest {
        None => Finding::skipped("temperature", "the board does not tell"),
        Some(milli) if milli >= HOT => Finding::warn(
            "temperature",
            format!("{} °C: the board slows itself down", milli / 1_000),
            "give it air or a heat sink",
        ),
        Some(milli) => Finding::ok("temperature", format!("{} °C", milli / 1_000)),
    }
}

/// Whether a Raspberry Pi has seen its supply voltage too low; `None` on other boards.
fn undervoltage(sys: &Path) -> Option<bool> {
    let monitors = fs::read_dir(sys.join("class/hwmon")).ok()?.filter_map(Result::ok);
    let voltage = monitors
        .map(|monitor| monitor.path())
        .find(|path| kernel_text(&path.join("name")).as_deref() == Some("rpi_volt"))?;
    Some(kernel_text(&voltage.join("in0_lcrit_alarm"))? != "0")
}

fn power(undervoltage: Option<bool>) -> Finding {
    match undervoltage {
        None => Finding::skipped("power", "the board does not tell"),
        Some(false) => Finding::ok("power", "the supply voltage is high enough"),
        Some(true) => Finding::warn(
            "power",
            "the supply voltage is too low, which damages what is written to cards",
            "use the power supply made for the board, and a short cable",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::super::tests::Tree;
    use super::*;

    fn lines(tree: &Tree) -> Vec<String> {
        look(&tree.path("sys"), &tree.path("proc")).iter().map(Finding::line).collect()
    }

    #[test]
    fn a_board_that_tells_nothing_is_not_called_good() {
        let tree = Tree::new("silent", &[]);
        let found = look(&tree.path("sys"), &tree.path("proc"));
        assert_eq!(found.iter().map(|found| found.state).collect::<Vec<_>>(), [State::Skipped; 3]);
    }

    #[test]
    fn a_raspberry_pi_is_read() {
        let zone = "sys/class/thermal/thermal_zone";
        let tree = Tree::new(
            "pi",
            &[
                ("proc/meminfo", "MemTotal:  443080 kB\nMemFree: 9 kB\nMemAvailable:  300000 kB\n"),
                (&format!("{zone}0/temp"), "48312\n"),
                (&format!("{zone}1/temp"), "51000\n"),
                ("sys/class/thermal/cooling_device0/temp", "99000\n"),
                ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
                ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
                ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n"),
            ],
        );
        assert_eq!(
            lines(&tree),
            [
                "ok       memory         292 MiB of 432 MiB available",
                "ok       temperature    51 °C",
                "ok       power          the supply voltage is high enough",
            ]
        );
        tree.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
        tree.write("sys/class/thermal/thermal_zone1/temp", "84900\n");
        tree.write("proc/meminfo", "MemTotal: 443080 kB\nMemAvailable: 30000 kB\n");
        let found = lines(&tree);
        for (line, parts) in
            found.iter().zip([["29 MiB", "ps -eo"], ["84 °C", "air"], ["too low", "power supply"]])
        {
            assert!(line.starts_with("warn ") && parts.iter().all(|part| line.contains(part)));
        }
    }

    #[test]
    fn memory_that_is_nearly_gone_is_a_failure() {
        let meminfo = "MemTotal: 443080 kB\nMemAvailable: 9000 kB\n";
        assert_eq!(memory(meminfo).state, State::Fail);
        assert_eq!(memory("MemTotal: 443080 kB\n").state, State::Skipped);
        assert_eq!(memory("MemTotal: 1\nMemAvailable: many\n").state, State::Skipped);
    }
}
