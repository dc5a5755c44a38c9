//! What somebody may have meant by a name that does not exist. Pure.

/// How similar two names must be, between 0 and 1.
const LEAST_SIMILARITY: f64 = 0.6;
/// The most suggestions.
const MOST: usize = 3;

/// The names that are similar to `text` or contain it, the most similar first.
pub fn near<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let text = text.to_lowercase();
    let similarity = |name: &str| {
        let name = name.to_lowercase();
        let similarity = strsim::normalized_damerau_levenshtein(&text, &name);
        match text.len() > 2 && name.contains(&text) {
            true => similarity.max(LEAST_SIMILARITY),
            false => similarity,
        }
    };
    let names = names.into_iter().map(|name| (similarity(name), name));
    let mut near: Vec<_> = names.filter(|(it, _)| *it >= LEAST_SIMILARITY).collect();
    near.sort_by(|(one, name), (other, other_name)| {
        other.total_cmp(one).then_with(|| name.cmp(other_name))
    });
    near.dedup_by(|(_, one), (_, other)| one == other);
    near.into_iter().map(|(_, name)| name).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn a_slip_and_a_part_of_a_name_are_recognised() {
        let names = ["web", "shop-web-1", "database", "shop/cart"];
        assert_eq!(near("wbe", names), ["web"]);
        assert_eq!(near("databse", names), ["database"]);
        assert_eq!(near("WEB", names), ["web", "shop-web-1"]);
        assert_eq!(near("shop/crat", names), ["shop/cart"]);
        assert_eq!(near("nothing-like-it", names), [""; 0]);
        assert_eq!(near("", names), [""; 0]);
    }
}
