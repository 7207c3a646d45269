// The theme of VitePress without its fonts: the system's are there already, and nothing has to be loaded.
import { h } from "vue";
import Theme from "vitepress/theme-without-fonts";

import "./style.css";

/** A link of the navigation to what the binary serves beside the guide, which the guide's router leaves to the browser. */
const OwnPage = ({ text, href }) => h("a", { class: "own-page", href, target: "_self" }, text);
OwnPage.props = ["text", "href"];

export default {
  extends: Theme,
  enhanceApp({ app }) {
    app.component("OwnPage", OwnPage);
  },
};
