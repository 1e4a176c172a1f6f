//! Lists whose items are named by dense numbers.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Number of an item of one [`Arena`].
///
/// **Invariant.** Made by [`Arena::push`] alone and used with that arena alone, so it always names an item.
pub(crate) struct Key<T> {
    place: usize,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl<T> Eq for Key<T> {}

impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place.hash(state);
    }
}

impl<T> Key<T> {
    /// Returns the place in the arena, to index lists that run beside it.
    pub(crate) fn place(self) -> usize {
        self.place
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.place)
    }
}

/// A list that only grows.
#[derive(Debug, Clone)]
pub(crate) struct Arena<T> {
    items: Vec<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// Adds an item and returns its number.
    pub(crate) fn push(&mut self, item: T) -> Key<T> {
        let key = Key {
            place: self.items.len(),
            item: PhantomData,
        };
        self.items.push(item);
        key
    }

    /// Returns the item that a number names.
    #[expect(
        clippy::indexing_slicing,
        reason = "a key is made by push alone and an arena never shrinks"
    )]
    pub(crate) fn at(&self, key: Key<T>) -> &T {
        &self.items[key.place]
    }

    /// Returns the item that a number names, to change it.
    #[expect(
        clippy::indexing_slicing,
        reason = "a key is made by push alone and an arena never shrinks"
    )]
    pub(crate) fn at_mut(&mut self, key: Key<T>) -> &mut T {
        &mut self.items[key.place]
    }

    /// Visits every item in the order in which they came.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }

    /// Visits every item with its number.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.items.iter().enumerate().map(|(place, item)| {
            (
                Key {
                    place,
                    item: PhantomData,
                },
                item,
            )
        })
    }
}
