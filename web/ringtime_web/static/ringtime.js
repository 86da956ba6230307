// What moves on the pages. Everything works without it but live figures, charts, suggestions and copying.
"use strict";
(() => {
  const said = document.getElementById("said");
  const say = (text) => { if (said) said.textContent = text; };
  document.documentElement.classList.add("js");
})();
