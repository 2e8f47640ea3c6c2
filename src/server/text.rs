//! Texts that are sent as they were written. They are packed when the program is built
//! (`src/build.rs`) and unpacked when somebody asks for one, which is seldom.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// The packed text of a file of this room.
macro_rules! packed {
    ($path:literal) => {
        $crate::server::text::Packed(include_bytes!(concat!(env!("OUT_DIR"), "/", $path)))
    };
}
pub(super) use packed;

/// A text that the build has packed.
#[derive(Debug)]
pub(super) struct Packed(pub(super) &'static [u8]);

impl Packed {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let unpacked = ZlibDecoder::new(self.0).read_to_string(&mut text);
        unpacked.expect("it was packed by the build");
        text
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_is_as_it_was_written() {
        let style = packed!("page/style.css");
        assert_eq!(style.text(), include_str!("page/style.css"));
        assert!(style.0.len() * 2 < style.text().len(), "it is not packed");
    }
}
