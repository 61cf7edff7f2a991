//! Styles and scripts, which are parts of this program. Their addresses have their content's hash, so that browsers keep
//! them for ever.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web,
};

use crate::http::{error::ApiError, respond::refuse};

const FILES: [(&str, &str, &str); 2] = [
    ("dashboard.css", "text/css; charset=utf-8", include_str!("dashboard.css")),
    ("dashboard.js", "text/javascript; charset=utf-8", include_str!("dashboard.js")),
];

fn version(content: &str) -> String {
    blake3::hash(content.as_bytes()).to_hex().chars().take(12).collect()
}

fn path((name, _, content): (&str, &str, &str)) -> String {
    format!("/dashboard/assets/{name}?{}", version(content))
}

/// The address of the styles, and of the script.
pub(super) static STYLE: LazyLock<String> = LazyLock::new(|| path(FILES[0]));
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| path(FILES[1]));

/// `GET /dashboard/assets/{name}`.
pub(super) async fn asset(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    match FILES.iter().find(|file| file.0 == *name) {
        Some((_, media_type, content)) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, *media_type))
            .insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"))
            .insert_header(("x-content-type-options", "nosniff"))
            .body(*content),
        None => refuse(&request, &ApiError::not_found("this file")),
    }
}
