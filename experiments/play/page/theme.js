// Light or dark colors: those of the system, unless the page was told otherwise before. This is no
// module, so that it runs before the first paint.

if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
