// What scrolls sideways can be reached by keyboard, and every button that copies a block has a name of its own: the theme
// makes tables scroll, and adds these buttons, whenever it comes to them.

const content = document.querySelector(".md-content");

function tidy() {
  for (const element of content.querySelectorAll("pre > code, .md-typeset__scrollwrap, .formula")) {
    if (element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
  for (const [i, nav] of content.querySelectorAll(".md-code__nav").entries()) nav.ariaLabel = `Block of code ${i + 1}`;
}

new MutationObserver(tidy).observe(content, { childList: true, subtree: true });
new ResizeObserver(tidy).observe(content);
