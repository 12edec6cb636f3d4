# Compiler settings that every target of this project shares.
option(VOLSEAL_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(VOLSEAL_FUZZ "Build the programs of tests/fuzz with libFuzzer (clang only)" OFF)

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(volseal_options INTERFACE)
target_compile_options(volseal_options INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Wcast-qual -Wformat=2 -Wundef
  # Options are structs, named at the call: what is not named keeps its default.
  -Wno-missing-field-initializers
  -fstack-protector-strong)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(volseal_options INTERFACE
    -Wduplicated-cond -Wlogical-op
    # g++ 12 warns about code of its own library once it is inlined under these; clang-tidy and the
    # sanitizers look for the same.
    -Wno-restrict -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # g++ 12's own library calls get_temporary_buffer where it sorts stably.
  target_compile_options(volseal_options INTERFACE -Wno-deprecated-declarations)
endif()
target_include_directories(volseal_options INTERFACE ${PROJECT_SOURCE_DIR})
target_link_options(volseal_options INTERFACE -Wl,-z,relro,-z,now)

if(VOLSEAL_FUZZ OR VOLSEAL_SANITIZE)
  target_compile_definitions(volseal_options INTERFACE VOLSEAL_SANITIZED)
endif()
if(VOLSEAL_FUZZ)
  target_compile_options(volseal_options INTERFACE
    -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(volseal_options INTERFACE -fsanitize=address,undefined)
elseif(VOLSEAL_SANITIZE)
  target_compile_options(volseal_options INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(volseal_options INTERFACE -fsanitize=address,undefined)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_options(volseal_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()

find_program(MOLD mold)
if(MOLD)
  target_link_options(volseal_options INTERFACE -fuse-ld=mold)
endif()
