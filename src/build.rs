//! Run by cargo before the program is compiled: packs the texts that the program sends as they were
//! written. As they are, they would be a fortieth of the binary; see `server/text.rs`.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// The room whose texts these are.
const ROOM: &str = "src/server";
/// Where in it they lie.
const FOLDERS: [&str; 3] = ["openapi", "openapi/paths", "page"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo runs this")?);
    println!("cargo::rerun-if-changed=src/build.rs");
    for folder in FOLDERS {
        let from = Path::new(ROOM).join(folder);
        println!("cargo::rerun-if-changed={}", from.display());
        fs::create_dir_all(out.join(folder))?;
        for file in fs::read_dir(from)? {
            let (path, name) = file.map(|file| (file.path(), file.file_name()))?;
            let is_code = path.extension().is_none_or(|ending| ending == "rs");
            if !is_code {
                let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
                packed.write_all(&fs::read(&path)?)?;
                fs::write(out.join(folder).join(name), packed.finish()?)?;
            }
        }
    }
    Ok(())
}
