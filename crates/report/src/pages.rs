//! The two reports as pages: the same story through two templates. Every value is escaped on its way, unless a template
//! says otherwise; only the pictures drawn here do.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, Output, State, context, escape_formatter};

use crate::story::Story;
use crate::text;

/// Renders `report.md`.
pub(crate) fn markdown(story: &Story) -> Result<String, Error> {
    let mut environment = environment();
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    environment.set_formatter(markdown_formatter);
    environment.add_template("report.md", include_str!("templates/report.md.jinja"))?;
    environment
        .get_template("report.md")?
        .render(context! { story => Serde(story) })
}

/// Renders `report.html`, with the pictures in the order of the story's charts.
pub(crate) fn html(story: &Story, pictures: &[String]) -> Result<String, Error> {
    let mut environment = environment();
    environment.add_template("report.css", include_str!("templates/report.css"))?;
    environment.add_template("report.html", include_str!("templates/report.html.jinja"))?;
    let page = environment.get_template("report.html")?;
    page.render(context! { story => Serde(story), pictures => Serde(pictures) })
}

fn environment<'a>() -> Environment<'a> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .expect("the usual delimiters are valid");
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment
}

fn markdown_formatter(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.as_str() {
        Some(words) if !value.is_safe() => Ok(out.write_str(&text::escaped_markdown(words))?),
        _ if value.is_safe() || value.is_number() => Ok(write!(out, "{value}")?),
        _ => escape_formatter(out, state, value),
    }
}
