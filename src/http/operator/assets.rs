//! The styles and the script that operators' pages have beside the dashboard's: parts of this program, with their content's
//! hash in their addresses.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::http::{
    dashboard::assets::{File, served, versioned},
    error::ApiError,
    respond::refuse,
};

const FILES: [File; 2] = [
    ("operator.css", "text/css; charset=utf-8", include_str!("operator.css")),
    ("operator.js", "text/javascript; charset=utf-8", include_str!("operator.js")),
];

/// The address of the styles, and of the script.
pub(super) static STYLE: LazyLock<String> = LazyLock::new(|| versioned("/operator/assets", FILES[0]));
pub(super) static SCRIPT: LazyLock<String> = LazyLock::new(|| versioned("/operator/assets", FILES[1]));

/// `GET /operator/assets/{name}`.
pub(super) async fn asset(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let found = FILES.into_iter().find(|file| file.0 == *name);
    found.map_or_else(|| refuse(&request, &ApiError::not_found("this file")), served)
}
