//! Which apps a word means, where it is not the supervisor that decides: for what is only shown.

use crate::api::AppStatus;

/// A name, an alias, a glob over both, or `all`.
pub(crate) fn means(word: &str, app: &AppStatus) -> bool {
    if word == "all" || word == app.name || app.aliases.iter().any(|alias| alias == word) {
        return true;
    }
    if !is_glob(word) {
        return false;
    }
    let glob = globset::Glob::new(word).map(|glob| glob.compile_matcher());
    glob.is_ok_and(|glob| glob.is_match(&app.name) || app.aliases.iter().any(|alias| glob.is_match(alias)))
}

/// May it mean several apps?
pub(crate) fn is_several(word: &str) -> bool {
    word == "all" || is_glob(word)
}

fn is_glob(word: &str) -> bool {
    word.contains(['*', '?', '[', '{'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    #[test]
    fn a_word_means_apps_by_name_alias_glob_or_all() {
        let of = |word: &str| -> Vec<String> {
            sample::apps().into_iter().filter(|app| means(word, app)).map(|app| app.name).collect()
        };
        assert_eq!(of("current"), ["current"]);
        assert_eq!(of("crm-staging"), ["staging"]);
        assert_eq!(of("cur*"), ["current"]);
        assert_eq!(of("{crm,staging}"), ["crm", "staging"]);
        assert_eq!(of("all").len(), 4);
        assert!(of("[").is_empty() && of("curren").is_empty());
    }
}
