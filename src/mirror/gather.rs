//! Maps and sets filled one by one.

/// Fills a map or a set of the standard library with what an iterator yields.
///
/// `collect` does the same, but sorts everything first, and its sort is compiled anew for each type
/// that is collected: five kilobytes of program, thirty times over. Here a last value stays too.
pub trait Gather: Iterator + Sized {
    /// All that is yielded, put in as it comes.
    fn gather<C: Default + Extend<Self::Item>>(self) -> C {
        let mut all = C::default();
        all.extend(self);
        all
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn gathered_is_collected() {
        // Out of order, and each key twice.
        let pairs = (0..34).map(|n: u8| (n * 5 % 17, n));
        let (one, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (pairs.clone().collect(), pairs.gather());
        assert_eq!(one.len(), 17);
        assert_eq!(one, other);
    }
}
