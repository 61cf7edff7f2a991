//! Styles and scripts, which are parts of this program. Their addresses have their content's hash, so that browsers keep
//! them for ever.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web,
};

use crate::http::{error::ApiError, respond::refuse};

/// A file: its name, its media type and its content.
pub(in crate::http) type File = (&'static str, &'static str, &'static str);

const FILES: [File; 3] = [
    ("dashboard.css", "text/css; charset=utf-8", include_str!("dashboard.css")),
    ("dashboard.js", "text/javascript; charset=utf-8", include_str!("dashboard.js")),
    ("cards.js", "text/javascript; charset=utf-8", include_str!("cards.js")),
];

/// The address of a file below a path.
pub(in crate::http) fn versioned(path: &str, (name, _, content): File) -> String {
    let version: String = blake3::hash(content.as_bytes()).to_hex().chars().take(12).collect();
    format!("{path}/{name}?{version}")
}

/// The address of the styles, and of the script of every page.
pub(in crate::http) static STYLE: LazyLock<String> = LazyLock::new(|| versioned("/dashboard/assets", FILES[0]));
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| versioned("/dashboard/assets", FILES[1]));
/// The address of the script of the pages that speak with Stripe.
pub(super) static CARDS: LazyLock<String> = LazyLock::new(|| versioned("/dashboard/assets", FILES[2]));

/// A file as an answer.
pub(in crate::http) fn served((_, media_type, content): File) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, media_type))
        .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(content)
}

/// `GET /dashboard/assets/{name}`.
pub(super) async fn asset(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let found = FILES.into_iter().find(|file| file.0 == *name);
    found.map_or_else(|| refuse(&request, &ApiError::not_found("this file")), served)
}
