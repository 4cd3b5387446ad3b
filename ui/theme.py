"""The palette and the type of the page as a Gradio theme. The layout is `assets/atelier.css`."""

from __future__ import annotations

import gradio as gr
from gradio.themes.utils import colors

VERDIGRIS = colors.Color(
    name="verdigris",
    c50="#edf8f6",
    c100="#d3eeea",
    c200="#a8ddd6",
    c300="#74c7bd",
    c400="#44aba1",
    c500="#238d85",
    c600="#12726d",
    c700="#105b58",
    c800="#114947",
    c900="#123c3b",
    c950="#062625",
)
PAPER = colors.Color(
    name="paper",
    c50="#faf8f4",
    c100="#f3f0ea",
    c200="#e6e1d8",
    c300="#d2cbbf",
    c400="#a29c92",
    c500="#746f67",
    c600="#585550",
    c700="#3b4147",
    c800="#222a30",
    c900="#171d22",
    c950="#0f1417",
)

# light value, dark value; both chosen by hand. Variables without a dark form are in the style sheet.
COLOURS: dict[str, tuple[str, str]] = {
    "body_background_fill": ("#faf8f4", "#101518"),
    "body_text_color": ("#23282d", "#e4e9ea"),
    "body_text_color_subdued": ("#66635d", "#97a3a8"),
    "background_fill_primary": ("#ffffff", "#171e22"),
    "background_fill_secondary": ("#f3f0ea", "#1c2429"),
    "border_color_primary": ("#e3ded4", "#29343a"),
    "border_color_accent": ("#44aba1", "#2f8d85"),
    "border_color_accent_subdued": ("#a8ddd6", "#1f5a56"),
    "color_accent_soft": ("#e2f1ee", "#17302f"),
    "block_background_fill": ("#ffffff", "#171e22"),
    "block_border_color": ("#e3ded4", "#29343a"),
    "block_label_text_color": ("#66635d", "#97a3a8"),
    "block_title_text_color": ("#3d4247", "#c9d2d5"),
    "block_info_text_color": ("#66635d", "#97a3a8"),
    "panel_background_fill": ("#f3f0ea", "#141a1e"),
    "panel_border_color": ("#e3ded4", "#29343a"),
    "input_background_fill": ("#ffffff", "#12181c"),
    "input_background_fill_focus": ("#ffffff", "#12181c"),
    "input_border_color": ("#d6d0c4", "#324047"),
    "input_border_color_focus": ("#238d85", "#54bfb4"),
    "input_border_color_hover": ("#bdb6a8", "#41525a"),
    "input_placeholder_color": ("#75716a", "#84929a"),
    "button_primary_background_fill": ("#12726d", "#54bfb4"),
    "button_primary_background_fill_hover": ("#105b58", "#74cfc5"),
    "button_primary_text_color": ("#ffffff", "#06201e"),
    "button_primary_border_color": ("#12726d", "#54bfb4"),
    "button_secondary_background_fill": ("#ffffff", "#1c2429"),
    "button_secondary_background_fill_hover": ("#f3f0ea", "#253037"),
    "button_secondary_text_color": ("#23282d", "#e4e9ea"),
    "button_secondary_border_color": ("#d6d0c4", "#324047"),
    "button_cancel_background_fill": ("#b3372a", "#e0695c"),
    "button_cancel_background_fill_hover": ("#962c21", "#ea8479"),
    "button_cancel_text_color": ("#ffffff", "#2b0906"),
    "button_cancel_border_color": ("#b3372a", "#e0695c"),
    "link_text_color": ("#12726d", "#6fd0c6"),
    "link_text_color_hover": ("#0c4f4c", "#9be3db"),
    "link_text_color_active": ("#12726d", "#6fd0c6"),
    "link_text_color_visited": ("#12726d", "#6fd0c6"),
    "code_background_fill": ("#f3f0ea", "#12181c"),
    "table_border_color": ("#e3ded4", "#29343a"),
    "table_even_background_fill": ("#ffffff", "#171e22"),
    "table_odd_background_fill": ("#faf8f4", "#141a1e"),
    "checkbox_background_color": ("#ffffff", "#12181c"),
    "checkbox_border_color": ("#bdb6a8", "#41525a"),
    "error_background_fill": ("#fdf1ef", "#2b1715"),
    "error_border_color": ("#e4b4ad", "#6b2f28"),
    "error_text_color": ("#8f2a1f", "#f0a69d"),
}

SHAPES: dict[str, str] = {
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_border_width": "0px",
    "block_title_background_fill": "transparent",
    "block_title_text_weight": "600",
    "block_title_text_size": "*text_sm",
    "block_border_width": "0px",
    "block_border_width_dark": "0px",
    "block_shadow": "none",
    "block_radius": "12px",
    "block_padding": "0px",
    "input_border_width": "1px",
    "input_border_width_dark": "1px",
    "input_radius": "10px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px color-mix(in srgb, var(--color-accent) 22%, transparent)",
    "button_large_radius": "10px",
    "button_medium_radius": "10px",
    "button_small_radius": "8px",
    "button_border_width": "1px",
    "button_border_width_dark": "1px",
    "button_large_text_weight": "600",
    "button_medium_text_weight": "600",
    "button_transition": "background-color .12s ease, border-color .12s ease, color .12s ease",
    "layout_gap": "12px",
    "section_header_text_weight": "600",
}


def theme() -> gr.themes.Base:
    """The theme; its fonts are Gradio's own files, so nothing is fetched from elsewhere."""
    base = gr.themes.Base(
        primary_hue=VERDIGRIS,
        secondary_hue=VERDIGRIS,
        neutral_hue=PAPER,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
        font_mono=[
            gr.themes.LocalFont("IBM Plex Mono", weights=(400,)),
            "ui-monospace",
            "monospace",
        ],
    )
    light = {name: pair[0] for name, pair in COLOURS.items()}
    dark = {f"{name}_dark": pair[1] for name, pair in COLOURS.items()}
    return base.set(**light, **dark, **SHAPES)
