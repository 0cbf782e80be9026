(() => {
  "use strict";
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const rows = [...document.querySelectorAll("#claims tbody tr")];
  const selects = [...form.querySelectorAll("select")];

  function filter() {
    let count = 0;
    for (const row of rows) {
      const fits = selects.every((s) => !s.value || row.dataset[s.name].split(" ").includes(s.value));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} claims shown`;
  }

  // A box is a stop for the keyboard only where it scrolls.
  function stops() {
    for (const box of document.querySelectorAll(".scroll")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }

  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("resize", stops);
  form.hidden = false;
  filter();
  stops();
})();
