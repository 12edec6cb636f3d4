# volseal_stage(NAME SOURCES... [PUBLIC deps...] [PRIVATE deps...])
#
# One folder, one static library. PUBLIC: what its headers mention; PRIVATE: what only its sources
# use, so that nothing above can include it by accident.
function(volseal_stage name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(volseal_${name} STATIC ${ARG_SOURCES})
  add_library(volseal::${name} ALIAS volseal_${name})
  target_link_libraries(volseal_${name} PUBLIC volseal_options ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()
