//! What is the same of many, kept once.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A value that many may share. Whoever changes it gets a copy of its own.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Alike<T>(Arc<T>);

impl<T> Clone for Alike<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> From<T> for Alike<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T: FromIterator<I>, I> FromIterator<I> for Alike<T> {
    fn from_iter<L: IntoIterator<Item = I>>(items: L) -> Self {
        T::from_iter(items).into()
    }
}

impl<T> Deref for Alike<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Alike<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a, T> IntoIterator for &'a Alike<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&*self.0).into_iter()
    }
}

impl<T: Serialize> Serialize for Alike<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

/// The values that were met so far.
#[derive(Debug)]
pub struct Met<T>(HashSet<Alike<T>>);

impl<T> Default for Met<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Met<T> {
    /// Takes the one that was met, where it is the same.
    pub fn share(&mut self, value: &mut Alike<T>) {
        if let Some(same) = self.0.get(value) {
            value.clone_from(same);
        } else {
            self.0.insert(value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_kept_once_and_changed_apart() {
        let mut met = Met::default();
        let mut all = ["same", "same", "other"].map(|word| {
            let mut value = Alike::from(vec![word]);
            met.share(&mut value);
            value
        });
        assert_eq!(all[0].as_ptr(), all[1].as_ptr());
        assert_ne!(all[0].as_ptr(), all[2].as_ptr());
        all[1].push("more");
        assert_eq!(all.each_ref().map(|v| v.len()), [1, 2, 1]);
    }
}
