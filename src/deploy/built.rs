//! What builds and frameworks write by themselves, and can write again: nobody's data.

use std::path::{Component, Path};

/// Directories and files of npm, Next.js and what goes with them, at any level. `.next` holds the pages that a running
/// Next.js renders anew (`server`), the images that it has scaled and what it has fetched (`cache`).
const NAMES: [&str; 9] = [
    "node_modules",
    ".next",
    ".turbo",
    ".cache",
    ".npm",
    ".pnpm-store",
    ".eslintcache",
    "next-env.d.ts",
    "npm-debug.log",
];

/// Is it, or does it lie in, something that is made anew by the steps of a release or by whoever runs there? The path is
/// relative to the release.
pub(super) fn is_built(path: &Path) -> bool {
    path.components().any(|part| match part {
        Component::Normal(name) => {
            let name = name.to_string_lossy();
            NAMES.contains(&name.as_ref()) || name.ends_with(".tsbuildinfo")
        }
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_built_again_is_known_at_any_level() {
        for path in ["node_modules", "apps/web/.next/server/app/index.html", "web/tsconfig.tsbuildinfo"] {
            assert!(is_built(Path::new(path)), "{path}");
        }
        for path in [".env", "public/uploads/node.png", "prisma/dev.db", "next.config.js", "dist"] {
            assert!(!is_built(Path::new(path)), "{path}");
        }
    }
}
