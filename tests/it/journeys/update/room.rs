//! A disk without room for one more binary: a good one is not held against itself, and a bad one
//! makes room for the one before it.

use std::fs;
use std::path::Path;

use rustix::fs::statvfs;

use super::{Device, REAL, script, write};
use crate::small_disk::with_a_small_disk;

/// What a binary weighs here: two of them fit on the disk, and a third does not.
const WEIGHT: usize = 60 << 20;

/// A program that is crmirror, and of that weight.
fn heavy(path: &Path, does: &str) {
    let mut text = format!("#!/bin/sh\nREAL={REAL}\n{does}\nexec $REAL \"$@\"\n").into_bytes();
    text.resize(WEIGHT, b'\n');
    script(path, "");
    write(path, &text);
}

/// A device whose binaries lie on a small disk, and a new one that does this first.
fn device(name: &str, disk: &Path, does: &str) -> Device {
    let device = Device::new(name);
    for directory in ["bin", "keep"] {
        fs::remove_dir_all(device.place.path(directory)).unwrap();
        fs::create_dir(disk.join(directory)).unwrap();
        std::os::unix::fs::symlink(disk.join(directory), device.place.path(directory)).unwrap();
    }
    heavy(&device.place.path("keep/proven"), "");
    heavy(&device.binary(), does);
    let free = statvfs(disk).unwrap();
    assert!(((free.f_bavail * free.f_frsize) as usize) < WEIGHT, "a third has no room");
    device
}

#[test]
fn a_bad_one_makes_room_for_the_one_before_it() {
    with_a_small_disk(
        "journeys::update::room::a_bad_one_makes_room_for_the_one_before_it",
        |disk| {
            let mut device = device("update-no-room", disk, "case \"$*\" in *run) exit 1 ;; esac");
            let (code, said) = device.update();
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("is refused: it ended before it was ready"), "{said}");
            let proven = fs::read(device.place.path("keep/proven")).unwrap();
            assert!(fs::read(device.binary()).unwrap() == proven, "the one before is back");
            device.works();
        },
    );
}

#[test]
fn a_good_one_that_cannot_be_kept_is_not_refused_later() {
    let name = "journeys::update::room::a_good_one_that_cannot_be_kept_is_not_refused_later";
    with_a_small_disk(name, |disk| {
        let mut device = device("update-unkept", disk, "# new");
        for _ in 0..3 {
            let (code, said) = device.update();
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("proved itself, but cannot be kept"), "{said}");
            assert!(said.contains("make room"), "{said}");
        }
        device.works();
    });
}
